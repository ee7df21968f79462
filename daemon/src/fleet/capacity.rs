//! What workers have and steps need, as amounts and in words.

use windlass_core::{MILLIS_PER_SLOT, Resource, Resources};
use windlass_proto::common::v1::ResourceSpec;

use crate::store::records::WorkerRecord;

/// Slots of a worker that names none.
const DEFAULT_SLOTS: u64 = 1;

/// Most slots that count of one worker.
const MAX_SLOTS: u64 = 10_000;

/// Names under which workers offer what every worker may have.
pub(crate) const SLOTS: &str = "slots";
pub(crate) const CPU: &str = "cpu";
pub(crate) const MEMORY: &str = "memory";
pub(crate) const GPU: &str = "gpu";

/// What a worker said that it has. One that says nothing of its memory is taken to have enough: it
/// is none the worse off than before memory was accounted. Of everything else it then has nothing.
pub(super) fn capacity(record: &WorkerRecord) -> Resources {
    let said = |name| record.capacity.get(name).map(|amount| u64::try_from(*amount).unwrap_or(0));
    let slots = said(SLOTS).unwrap_or(DEFAULT_SLOTS).min(MAX_SLOTS);
    let standard = [SLOTS, CPU, MEMORY, GPU];
    let named = record.capacity.iter().filter(|(name, _)| !standard.contains(&name.as_str()));
    Resources {
        slots,
        cpu_millis: said(CPU).unwrap_or(slots * MILLIS_PER_SLOT),
        memory_bytes: said(MEMORY).unwrap_or(u64::MAX),
        gpu: said(GPU).unwrap_or(0),
        named: named
            .map(|(name, amount)| (name.as_str().into(), u64::try_from(*amount).unwrap_or(0)))
            .collect(),
    }
}

/// What a step takes of a worker.
pub(crate) fn need(spec: Option<&ResourceSpec>) -> Resources {
    let Some(spec) = spec else { return Resources { slots: 1, ..Resources::default() } };
    let amounts = spec.named.iter().filter(|(_, amount)| **amount > 0);
    Resources {
        slots: 1,
        cpu_millis: spec.cpu_millis.into(),
        memory_bytes: spec.memory_bytes,
        gpu: spec.gpu.into(),
        named: amounts.map(|(name, amount)| (name.as_str().into(), *amount)).collect(),
    }
}

/// The name under which a worker offers it.
pub(crate) fn name(of: Resource<'_>) -> &str {
    match of {
        Resource::Slots => SLOTS,
        Resource::Cpu => CPU,
        Resource::Memory => MEMORY,
        Resource::Gpu => GPU,
        Resource::Named(name) => name,
    }
}

/// An amount in the unit that a pipeline file would give it in: `1.5`, `4 GiB`, `64`.
pub(crate) fn amount(of: Resource<'_>, amount: u64) -> String {
    match of {
        Resource::Cpu => fraction(amount, 1_000),
        Resource::Memory => bytes(amount),
        Resource::Slots | Resource::Gpu | Resource::Named(_) => amount.to_string(),
    }
}

/// `gpu: 64`.
pub(crate) fn words(of: Resource<'_>, needed: u64) -> String {
    format!("{}: {}", name(of), amount(of, needed))
}

fn bytes(amount: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| amount >= *size) {
        Some((size, unit)) => format!("{} {unit}", fraction(amount, size)),
        None => format!("{amount} bytes"),
    }
}

/// A quotient with at most two decimals, rounded down.
fn fraction(amount: u64, unit: u64) -> String {
    let (whole, rest) = (amount / unit, u128::from(amount % unit) * 100 / u128::from(unit));
    match rest {
        0 => whole.to_string(),
        rest if rest % 10 == 0 => format!("{whole}.{}", rest / 10),
        rest => format!("{whole}.{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(capacity: &[(&str, i64)]) -> Resources {
        let capacity = capacity.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
        super::capacity(&WorkerRecord { capacity: capacity.collect(), ..WorkerRecord::default() })
    }

    #[test]
    fn what_a_worker_does_not_say_is_filled_in() {
        let nothing = said(&[]);
        assert_eq!((nothing.slots, nothing.cpu_millis, nothing.gpu), (1, 1_000, 0));
        assert_eq!(nothing.memory_bytes, u64::MAX);
        let all = said(&[("slots", 4), ("cpu", 2_500), ("memory", 1 << 30), ("tape", 2)]);
        assert_eq!((all.slots, all.cpu_millis, all.memory_bytes), (4, 2_500, 1 << 30));
        assert_eq!(all.named["tape"], 2);
        let absurd = said(&[("slots", i64::MAX), ("gpu", -1), ("tape", -1)]);
        assert_eq!((absurd.slots, absurd.gpu, absurd.named["tape"]), (MAX_SLOTS, 0, 0));
    }

    #[test]
    fn amounts_are_told_as_pipelines_give_them() {
        let memory = |amount| words(Resource::Memory, amount);
        assert_eq!(memory(4 << 30), "memory: 4 GiB");
        assert_eq!(memory((5 << 30) / 2), "memory: 2.5 GiB");
        assert_eq!(memory(1_075 << 20), "memory: 1.04 GiB");
        assert_eq!([memory(1 << 40), memory(7)], ["memory: 1 TiB", "memory: 7 bytes"]);
        assert_eq!(words(Resource::Cpu, 1_500), "cpu: 1.5");
        assert_eq!(words(Resource::Gpu, 64), "gpu: 64");
        assert_eq!(words(Resource::Named("tape"), 2), "tape: 2");
    }
}
