use std::{borrow::Cow, collections::BTreeMap};

/// Most thousandths of a core that one slot stands for.
pub const MILLIS_PER_SLOT: u64 = 1_000;

/// Amounts of everything that is accounted: what a worker has, or what a step needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Attempts at once; a step needs one.
    pub slots: u64,
    /// Thousandths of a core. A step that needs 0 takes what one slot of the worker stands for.
    pub cpu_millis: u64,
    /// [`u64::MAX`] for a worker that did not say how much it has; a step that needs 0 takes none.
    pub memory_bytes: u64,
    pub gpu: u64,
    /// What else a worker offers; a name that is not there is an amount of 0.
    pub named: BTreeMap<Box<str>, u64>,
}

/// One of the things that are accounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Gpu,
    Memory,
    Cpu,
    Named(&'a str),
    Slots,
}

impl Resources {
    /// How much of one thing there is.
    pub fn amount(&self, of: Resource<'_>) -> u64 {
        match of {
            Resource::Gpu => self.gpu,
            Resource::Memory => self.memory_bytes,
            Resource::Cpu => self.cpu_millis,
            Resource::Named(name) => self.named.get(name).copied().unwrap_or(0),
            Resource::Slots => self.slots,
        }
    }

    /// The things that there may be some of, the rarest first.
    pub fn kinds(&self) -> impl Iterator<Item = Resource<'_>> {
        let named = self.named.keys().map(|name| Resource::Named(name));
        [Resource::Gpu, Resource::Memory]
            .into_iter()
            .chain(named)
            .chain([Resource::Cpu, Resource::Slots])
    }

    /// The first thing of which `room` has too little for this.
    pub fn lacking(&self, room: &Self) -> Option<Resource<'_>> {
        self.kinds().find(|kind| self.amount(*kind) > room.amount(*kind))
    }

    /// True where `room` has enough of everything.
    pub fn fits(&self, room: &Self) -> bool {
        self.lacking(room).is_none()
    }

    /// What a step with this need takes of a worker with that capacity.
    pub fn on(&self, capacity: &Self) -> Cow<'_, Self> {
        if self.cpu_millis > 0 {
            return Cow::Borrowed(self);
        }
        let share = capacity.cpu_millis / capacity.slots.max(1);
        Cow::Owned(Self { cpu_millis: share.min(MILLIS_PER_SLOT), ..self.clone() })
    }

    /// Adds what `other` has; a sum ends at [`u64::MAX`].
    pub fn add(&mut self, other: &Self) {
        self.each(other, u64::saturating_add);
        for (name, amount) in &other.named {
            let own = self.named.entry(name.clone()).or_default();
            *own = own.saturating_add(*amount);
        }
    }

    /// Takes away what `other` has; a difference ends at 0.
    pub fn sub(&mut self, other: &Self) {
        self.each(other, u64::saturating_sub);
        for (name, amount) in &other.named {
            if let Some(own) = self.named.get_mut(name) {
                *own = own.saturating_sub(*amount);
            }
        }
    }

    fn each(&mut self, other: &Self, change: impl Fn(u64, u64) -> u64) {
        self.slots = change(self.slots, other.slots);
        self.cpu_millis = change(self.cpu_millis, other.cpu_millis);
        self.memory_bytes = change(self.memory_bytes, other.memory_bytes);
        self.gpu = change(self.gpu, other.gpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, amount: u64) -> Resources {
        Resources { named: [(name.into(), amount)].into(), ..Resources::default() }
    }

    #[test]
    fn amounts_end_where_they_must() {
        let mut sum = Resources { gpu: u64::MAX, ..named("tape", 2) };
        sum.add(&Resources { gpu: 1, cpu_millis: 5, ..named("licence", 1) });
        assert_eq!((sum.gpu, sum.cpu_millis), (u64::MAX, 5));
        assert_eq!((sum.named["tape"], sum.named["licence"]), (2, 1));
        sum.sub(&Resources { cpu_millis: 9, ..named("tape", 3) });
        sum.sub(&named("nothing", 1));
        assert_eq!((sum.cpu_millis, sum.named["tape"], sum.named.len()), (0, 0, 2));
    }

    #[test]
    fn what_is_lacking_is_named() {
        let room = Resources { gpu: 1, memory_bytes: u64::MAX, ..named("tape", 1) };
        assert_eq!(
            Resources { gpu: 2, ..Resources::default() }.lacking(&room),
            Some(Resource::Gpu)
        );
        assert_eq!(named("tape", 2).lacking(&room), Some(Resource::Named("tape")));
        assert_eq!(named("licence", 1).lacking(&room), Some(Resource::Named("licence")));
        assert!(named("licence", 0).fits(&room));
        assert!(Resources { memory_bytes: 1 << 50, gpu: 1, ..named("tape", 1) }.fits(&room));
    }

    #[test]
    fn a_step_that_says_nothing_takes_the_share_of_a_slot() {
        let on = |slots, cpu_millis| {
            let capacity = Resources { slots, cpu_millis, ..Resources::default() };
            Resources::default().on(&capacity).cpu_millis
        };
        assert_eq!([on(4, 4_000), on(8, 4_000), on(4, 64_000)], [1_000, 500, 1_000]);
        assert_eq!([on(1, 500), on(0, 0)], [500, 0]);
        let said = Resources { cpu_millis: 250, ..Resources::default() };
        assert_eq!(said.on(&Resources::default()).cpu_millis, 250);
    }
}
