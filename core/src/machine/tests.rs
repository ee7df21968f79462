mod model;

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{LOSS_BUDGET, RetryOn, RetryPolicy};

const NOW: Timestamp = Timestamp(1_000_000);
const FIRST: AttemptNumber = AttemptNumber(1);

fn rules(times: u32) -> StepRules {
    let on = RetryOn { exit: true, timeout: true, oom: true, lost: true };
    let backoff = Duration::from_secs(1);
    let retry = RetryPolicy { times, backoff, factor: 2.0, max: Duration::from_secs(9), on };
    StepRules { retry, ..StepRules::PLAIN }
}

fn begun(needs: &[&[u32]], rules: Vec<StepRules>) -> Machine {
    let graph = RunGraph::new(needs.iter().map(|needs| (*needs, &[][..])), rules).unwrap();
    let mut machine = Machine::new(Arc::new(graph));
    machine.apply(Event::Begin, NOW, &mut Vec::new());
    machine
}

fn never(len: usize) -> Vec<StepRules> {
    vec![StepRules::PLAIN; len]
}

fn send(machine: &mut Machine, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    machine.apply(event, NOW, &mut effects);
    effects
}

fn end(step: u32, attempt: u32, outcome: Outcome) -> Event {
    let (step, attempt) = (StepIndex(step), AttemptNumber(attempt));
    Event::Ended { step, attempt, outcome, jitter: 0.0 }
}

fn grant(step: u32) -> Event {
    Event::Granted { step: StepIndex(step) }
}

fn words(machine: &Machine) -> Vec<&'static str> {
    machine.cells().iter().map(|cell| cell.state.word()).collect()
}

#[test]
fn a_chain_goes_step_by_step() {
    let mut machine = begun(&[&[], &[0]], never(2));
    assert_eq!(words(&machine), ["ready", "pending"]);
    send(&mut machine, grant(0));
    assert_eq!(machine.run().state, RunState::Running);
    let effects = send(&mut machine, end(0, 1, Outcome::Succeeded));
    assert!(effects.contains(&Effect::Enqueue(StepIndex(1))), "{effects:?}");
    send(&mut machine, grant(1));
    send(&mut machine, end(1, 1, Outcome::Succeeded));
    assert_eq!(machine.run().state, RunState::Succeeded);
    assert_eq!(machine.run().end, Some(NOW));
}

#[test]
fn what_follows_a_failure_fails_and_the_rest_goes_on() {
    let mut machine = begun(&[&[], &[0], &[1], &[]], never(4));
    send(&mut machine, grant(0));
    send(&mut machine, end(0, 1, Outcome::Failed(Failure::Exit)));
    assert_eq!(words(&machine), ["failed", "upstream_failed", "upstream_failed", "ready"]);
    assert_eq!(machine.run().state, RunState::Running);
    send(&mut machine, grant(3));
    send(&mut machine, end(3, 1, Outcome::Succeeded));
    assert_eq!(machine.run().state, RunState::Failed);
}

#[test]
fn stubs_succeed_by_themselves_also_one_behind_the_other() {
    let stub = StepRules { work: Work::Stub, ..StepRules::PLAIN };
    let machine = begun(&[&[], &[0], &[1]], vec![stub; 3]);
    assert_eq!(machine.run().state, RunState::Succeeded);
    assert_eq!(machine.run().start, Some(NOW));
    let machine = begun(&[&[], &[0]], vec![stub, never(1)[0]]);
    assert_eq!(words(&machine), ["succeeded", "ready"]);
}

#[test]
fn a_retry_waits_and_is_the_next_attempt() {
    let mut machine = begun(&[&[]], vec![rules(1)]);
    send(&mut machine, grant(0));
    let effects = send(&mut machine, end(0, 1, Outcome::Failed(Failure::Exit)));
    let (step, until) = (StepIndex(0), Timestamp(NOW.0 + 1_000_000));
    assert!(effects.contains(&Effect::Wait { step, attempt: FIRST, until }), "{effects:?}");
    assert_eq!(words(&machine), ["backing_off"]);
    assert_eq!(send(&mut machine, grant(0)), []);
    send(&mut machine, Event::WaitOver { step, attempt: FIRST });
    send(&mut machine, grant(0));
    assert_eq!(send(&mut machine, end(0, 1, Outcome::Succeeded)), [], "late");
    send(&mut machine, end(0, 2, Outcome::Failed(Failure::Exit)));
    assert_eq!(machine.run().state, RunState::Failed);
}

#[test]
fn losses_have_a_budget_of_their_own() {
    let mut machine = begun(&[&[]], vec![rules(0)]);
    for attempt in 1..=LOSS_BUDGET {
        send(&mut machine, grant(0));
        send(&mut machine, end(0, attempt, Outcome::Failed(Failure::Lost)));
        assert_eq!(words(&machine), ["backing_off"]);
        let attempt = AttemptNumber(attempt);
        send(&mut machine, Event::WaitOver { step: StepIndex(0), attempt });
    }
    send(&mut machine, grant(0));
    send(&mut machine, end(0, LOSS_BUDGET + 1, Outcome::Failed(Failure::Lost)));
    assert_eq!(machine.run().state, RunState::Failed);
}

#[test]
fn a_cancelled_run_waits_for_what_runs() {
    let mut machine = begun(&[&[], &[0], &[]], never(3));
    send(&mut machine, grant(0));
    let (step, how) = (StepIndex(0), Stop::Politely);
    let effects = send(&mut machine, Event::CancelRequested { how });
    assert!(effects.contains(&Effect::Stop { step, attempt: FIRST, how }), "{effects:?}");
    assert_eq!(words(&machine), ["running", "cancelled", "cancelled"]);
    assert_eq!(machine.run().state, RunState::Cancelling);
    assert_eq!(send(&mut machine, Event::CancelRequested { how }), []);
    let how = Stop::AtOnce;
    let harder = send(&mut machine, Event::CancelRequested { how });
    assert!(harder.contains(&Effect::Stop { step, attempt: FIRST, how }), "{harder:?}");
    send(&mut machine, end(0, 1, Outcome::Failed(Failure::Lost)));
    assert_eq!(words(&machine)[0], "cancelled");
    assert_eq!(machine.run().state, RunState::Cancelled);
}

#[test]
fn a_step_that_ends_well_while_cancelling_stays_well() {
    let mut machine = begun(&[&[], &[0]], never(2));
    send(&mut machine, grant(0));
    send(&mut machine, Event::CancelRequested { how: Stop::Politely });
    send(&mut machine, end(0, 1, Outcome::Succeeded));
    assert_eq!(words(&machine), ["succeeded", "cancelled"]);
    assert_eq!(machine.run().state, RunState::Cancelled);
}

#[test]
fn what_was_given_back_goes_out_again_under_the_same_number() {
    let mut machine = begun(&[&[]], never(1));
    send(&mut machine, grant(0));
    let back = Event::GivenBack { step: StepIndex(0), attempt: FIRST };
    send(&mut machine, back);
    assert_eq!(words(&machine), ["ready"]);
    send(&mut machine, grant(0));
    assert_eq!(machine.cells()[0].attempt, 1);
    send(&mut machine, Event::Started { step: StepIndex(0), attempt: FIRST });
    assert_eq!(send(&mut machine, back), [], "it runs");
}

/// One thing to try: what, on which step, with which outcome.
type Move = (u8, usize, u8);

fn outcome(code: u8) -> Outcome {
    match code % 6 {
        0 | 1 => Outcome::Succeeded,
        2 => Outcome::Failed(Failure::Exit),
        3 => Outcome::Failed(Failure::Lost),
        4 => Outcome::Failed(Failure::Timeout),
        _ => Outcome::Cancelled,
    }
}

fn event((what, step, code): Move, machine: &Machine) -> Event {
    let index = step % machine.cells().len();
    let step = StepIndex(u32::try_from(index).unwrap());
    let last = machine.cells()[index].attempt;
    let attempt = AttemptNumber(if code < 40 { last.saturating_sub(1) } else { last });
    match what % 12 {
        0..=3 => Event::Granted { step },
        4..=7 => Event::Ended { step, attempt, outcome: outcome(code), jitter: 0.5 },
        8 => Event::Started { step, attempt },
        9 => Event::GivenBack { step, attempt },
        10 => Event::WaitOver { step, attempt },
        _ if code < 20 => Event::CancelRequested { how: Stop::Politely },
        _ => Event::Begin,
    }
}

/// What must hold whatever happened.
fn check(machine: &Machine) {
    let states: Vec<StepState> = machine.cells().iter().map(|cell| cell.state).collect();
    for (index, state) in (0u32..).zip(&states) {
        let needs = machine.graph().needs(StepIndex(index));
        let need = |good: fn(&StepState) -> bool| needs.iter().any(|n| good(&states[at(n.0)]));
        let unmet = need(|state| *state != StepState::Succeeded);
        let failed = need(|s| matches!(s, StepState::Failed | StepState::UpstreamFailed));
        match state {
            StepState::Pending => assert!(unmet && !failed, "{index} {states:?}"),
            StepState::UpstreamFailed => assert!(failed, "{index} {states:?}"),
            StepState::Cancelled => assert!(machine.run().cancel.is_some()),
            StepState::Reused | StepState::Skipped => panic!("{state:?}"),
            StepState::Ready
            | StepState::Running
            | StepState::BackingOff
            | StepState::Succeeded
            | StepState::Failed => assert!(!unmet, "{index} {states:?}"),
        }
    }
    let all_ended = states.iter().all(|state| state.is_terminal());
    assert_eq!(machine.run().state.is_terminal(), all_ended, "{states:?}");
    assert_eq!(machine.run().end.is_some(), all_ended);
}

/// Sends one event and checks that it was lawful.
fn step(machine: &mut Machine, event: Event) {
    let before = (machine.run(), machine.cells().to_vec());
    let effects = send(machine, event);
    if effects.is_empty() {
        assert_eq!(before, (machine.run(), machine.cells().to_vec()), "a silent change");
    }
    for (index, (old, new)) in (0u32..).zip(before.1.iter().zip(machine.cells())) {
        assert!(!old.state.is_terminal() || old == new, "{old:?} became {new:?}");
        let told = effects.contains(&Effect::StepChanged(StepIndex(index)));
        assert!(old == new || told, "{old:?} became {new:?} silently");
    }
    check(machine);
}

/// Brings the run to its end the way a patient worker does.
fn finish(machine: &mut Machine) {
    for _ in 0..10_000 {
        let next = (0u32..).zip(machine.cells()).find_map(|(index, cell)| {
            let (step, attempt) = (StepIndex(index), AttemptNumber(cell.attempt));
            match cell.state {
                StepState::Ready => Some(Event::Granted { step }),
                StepState::Running => Some(end(index, cell.attempt, Outcome::Succeeded)),
                StepState::BackingOff => Some(Event::WaitOver { step, attempt }),
                StepState::Pending
                | StepState::Succeeded
                | StepState::Reused
                | StepState::Failed
                | StepState::Skipped
                | StepState::UpstreamFailed
                | StepState::Cancelled => None,
            }
        });
        match next {
            Some(event) => step(machine, event),
            None => break,
        }
    }
    assert!(machine.run().state.is_terminal(), "{:?}", words(machine));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_lawfully(
        edges in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..4), 1..12),
        stubs in proptest::collection::vec(proptest::bool::weighted(0.2), 12),
        moves in proptest::collection::vec(any::<Move>(), 0..80),
    ) {
        let needs: Vec<Vec<u32>> = (0u32..)
            .zip(&edges)
            .map(|(index, list)| list.iter().filter(|_| index > 0).map(|n| n % index.max(1)).collect())
            .collect();
        let of = |stub: &bool| {
            let work = if *stub { Work::Stub } else { Work::Attempts };
            StepRules { work, ..rules(2) }
        };
        let rules = stubs.iter().take(needs.len()).map(of).collect();
        let graph = Arc::new(RunGraph::new(needs.iter().map(|needs| (needs.as_slice(), &[][..])), rules).unwrap());
        let mut machine = Machine::new(Arc::clone(&graph));
        send(&mut machine, Event::Begin);
        check(&machine);
        for choice in moves {
            let event = event(choice, &machine);
            step(&mut machine, event);
            let stored = (0u32..).zip(machine.cells()).map(|(step, cell)| {
                (machine.key(StepIndex(step)).unwrap(), *cell)
            });
            let copy = Machine::restore(Arc::clone(&graph), machine.run(), stored.collect());
            prop_assert_eq!(&copy.nodes, &machine.nodes);
            prop_assert_eq!(copy.open, machine.open);
        }
        finish(&mut machine);
    }
}
