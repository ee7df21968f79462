use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

fn cores(cores: u64) -> Resources {
    Resources { slots: 1, cpu_millis: cores * 1_000, ..Resources::default() }
}

fn slots(slots: u64) -> Resources {
    let cpu_millis = slots * 1_000;
    Resources { slots, cpu_millis, memory_bytes: u64::MAX, ..Resources::default() }
}

fn push(queue: &mut ReadyQueue, of: u128, step: u32, need: Resources) {
    queue.push(run(of), 0, ReadyStep { step: StepIndex(step), need: Arc::new(need) });
}

fn taken(queue: &mut ReadyQueue, free: &Resources, capacity: &Resources) -> Vec<(u128, u32)> {
    std::iter::from_fn(|| queue.take(free, capacity))
        .map(|(run, ready)| (run.0.as_u128(), ready.step.0))
        .collect()
}

#[test]
fn runs_take_turns_and_steps_keep_their_order() {
    let mut queue = ReadyQueue::default();
    (0..3).for_each(|step| push(&mut queue, 1, step, cores(0)));
    (0..2).for_each(|step| push(&mut queue, 2, step, cores(0)));
    assert_eq!(queue.len(), 5);
    let order = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)];
    assert_eq!(taken(&mut queue, &slots(1), &slots(1)), order);
    assert!(queue.is_empty());
}

#[test]
fn steps_of_different_needs_keep_their_order_within_a_run() {
    let mut queue = ReadyQueue::default();
    for step in 0..6 {
        push(&mut queue, 1, step, cores(u64::from(step % 3)));
    }
    let order: Vec<_> = (0..6).map(|step| (1, step)).collect();
    assert_eq!(taken(&mut queue, &slots(2), &slots(2)), order);
}

#[test]
fn a_higher_priority_goes_first() {
    let mut queue = ReadyQueue::default();
    let need = Arc::new(cores(1));
    for (of, priority) in [(1, 0), (2, -5), (3, 7), (4, 0)] {
        for step in 0..2 {
            let ready = ReadyStep { step: StepIndex(step), need: Arc::clone(&need) };
            queue.push(run(of), priority, ready);
        }
    }
    let order = [(3, 0), (3, 1), (1, 0), (4, 0), (1, 1), (4, 1), (2, 0), (2, 1)];
    assert_eq!(taken(&mut queue, &slots(1), &slots(1)), order);
}

#[test]
fn a_big_step_is_passed_over_for_a_while_only() {
    let mut queue = ReadyQueue::default();
    push(&mut queue, 1, 0, cores(2));
    (0..100).for_each(|step| push(&mut queue, 2, step, cores(1)));
    let passed = taken(&mut queue, &slots(1), &slots(2)).len();
    assert_eq!(passed, usize::try_from(MAX_PASSED_OVER).unwrap());
    assert_eq!(taken(&mut queue, &slots(2), &slots(2))[0], (1, 0));
}

#[test]
fn a_big_step_gets_its_turn_also_where_small_ones_never_end() {
    let mut queue = ReadyQueue::default();
    push(&mut queue, 1, 0, cores(2));
    for of in [1, 2, 3] {
        push(&mut queue, of, 1, cores(1));
    }
    // One of the two cores comes free at a time, and another small step at once.
    let (mut room, mut rounds) = (2, 0);
    loop {
        while let Some((of, ready)) = queue.take(&slots(room), &slots(2)) {
            if ready.step == StepIndex(0) {
                return;
            }
            room -= 1;
            queue.push(of, 0, ready);
        }
        room += 1;
        rounds += 1;
        assert!(rounds < 4 * MAX_PASSED_OVER, "starved");
    }
}

#[test]
fn what_a_step_waits_for_keeps_nobody_from_the_rest() {
    let mut queue = ReadyQueue::default();
    let capacity = Resources { gpu: 1, ..slots(4) };
    push(&mut queue, 1, 0, Resources { gpu: 1, ..cores(1) });
    (0..40).for_each(|step| push(&mut queue, 2, step, cores(1)));
    let busy = slots(3);
    assert_eq!(taken(&mut queue, &busy, &capacity).len(), 40, "a core is set aside, two are not");
    assert_eq!(taken(&mut queue, &capacity, &capacity), [(1, 0)]);
}

#[test]
fn what_no_worker_can_run_blocks_nobody() {
    let mut queue = ReadyQueue::default();
    for of in 0..1_000 {
        push(&mut queue, of, 0, Resources { gpu: 64, ..cores(1) });
    }
    (0..100).for_each(|step| push(&mut queue, 5_000, step, cores(1)));
    assert_eq!(taken(&mut queue, &slots(1), &slots(1)).len(), 100);
    assert_eq!(queue.len(), 1_000);
}

#[test]
fn a_removed_run_leaves_no_trace() {
    let mut queue = ReadyQueue::default();
    push(&mut queue, 1, 0, cores(1));
    push(&mut queue, 1, 1, cores(2));
    push(&mut queue, 2, 0, cores(1));
    assert_eq!(queue.needs(run(1)).count(), 2);
    queue.remove(run(1));
    queue.remove(run(3));
    assert_eq!((queue.needs(run(1)).count(), queue.len()), (0, 1));
    push(&mut queue, 1, 7, cores(1));
    assert_eq!(taken(&mut queue, &slots(2), &slots(2)), [(2, 0), (1, 7)]);
    assert!(queue.runs.is_empty() && queue.known.is_empty());
    assert_eq!(queue.classes.len(), queue.vacant.len());
}

#[test]
fn equal_needs_are_kept_once() {
    let mut queue = ReadyQueue::default();
    (0..10_000).for_each(|step| push(&mut queue, 1, step, cores(1)));
    assert_eq!((queue.classes.len(), size_of::<(u32, StepIndex)>()), (1, 8));
}

fn resources() -> impl Strategy<Value = Resources> {
    (0u64..5, 0u64..3, 0u64..2, 0u64..2).prop_map(|(cpu, memory, gpu, tape)| Resources {
        slots: 1,
        cpu_millis: cpu * 500,
        memory_bytes: memory,
        gpu,
        named: if tape > 0 { [("tape".into(), tape)].into() } else { BTreeMap::new() },
    })
}

fn capacity() -> impl Strategy<Value = Resources> {
    (resources(), 1u64..4).prop_map(|(resources, slots)| Resources { slots, ..resources })
}

#[derive(Clone, Debug)]
enum Op {
    Push {
        run: u128,
        need: usize,
    },
    Take {
        worker: usize,
    },
    /// Ends one of the attempts of a worker.
    End {
        worker: usize,
        which: usize,
    },
    Remove {
        run: u128,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0u128..4, 0usize..5).prop_map(|(run, need)| Op::Push { run, need }),
        5 => (0usize..3).prop_map(|worker| Op::Take { worker }),
        3 => (0usize..3, any::<usize>()).prop_map(|(worker, which)| Op::End { worker, which }),
        1 => (0u128..4).prop_map(|run| Op::Remove { run }),
    ]
}

/// A worker as plain as can be: what runs is a list, and its sum is added up anew each time.
struct Model {
    capacity: Resources,
    running: Vec<Arc<Resources>>,
}

impl Model {
    fn used(&self) -> Resources {
        let mut sum = Resources::default();
        self.running.iter().for_each(|need| sum.add(&need.on(&self.capacity)));
        sum
    }

    fn free(&self) -> Resources {
        let mut free = self.capacity.clone();
        free.sub(&self.used());
        free
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What runs never exceeds a worker; nothing is lost, given twice or starved.
    #[test]
    fn the_sum_of_what_runs_never_exceeds_a_worker(
        capacities in proptest::collection::vec(capacity(), 3),
        needs in proptest::collection::vec(resources(), 5),
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut workers: Vec<Model> = capacities
            .into_iter()
            .map(|capacity| Model { capacity, running: Vec::new() })
            .collect();
        let needs: Vec<Arc<Resources>> = needs.into_iter().map(Arc::new).collect();
        let mut queue = ReadyQueue::default();
        let mut waits: BTreeMap<u32, (RunId, Arc<Resources>)> = BTreeMap::new();
        let take = |queue: &mut ReadyQueue,
                        waits: &mut BTreeMap<u32, (RunId, Arc<Resources>)>,
                        worker: &mut Model| {
            let Some((of, ready)) = queue.take(&worker.free(), &worker.capacity) else {
                return false;
            };
            let known = waits.remove(&ready.step.0);
            assert_eq!(known, Some((of, Arc::clone(&ready.need))), "given once, as it was pushed");
            let earlier = waits.range(..ready.step.0);
            let same = |(_, (run, need)): (&u32, &(RunId, Arc<Resources>))| {
                *run == of && *need == ready.need
            };
            assert!(!earlier.into_iter().any(same), "the first of its run and need");
            worker.running.push(ready.need);
            assert!(worker.used().fits(&worker.capacity));
            true
        };
        for (step, op) in (0u32..).zip(ops) {
            match op {
                Op::Push { run: of, need } => {
                    let ready = ReadyStep { step: StepIndex(step), need: Arc::clone(&needs[need]) };
                    waits.insert(step, (run(of), Arc::clone(&ready.need)));
                    queue.push(run(of), i32::from(of == 3), ready);
                }
                Op::Take { worker } => {
                    take(&mut queue, &mut waits, &mut workers[worker]);
                }
                Op::End { worker, which } => {
                    let running = &mut workers[worker].running;
                    if !running.is_empty() {
                        running.swap_remove(which % running.len());
                    }
                }
                Op::Remove { run: of } => {
                    queue.remove(run(of));
                    waits.retain(|_, (waiting, _)| *waiting != run(of));
                }
            }
            prop_assert_eq!(queue.len(), waits.len());
            let distinct: HashSet<_> = waits.values().map(|(_, need)| need).collect();
            prop_assert_eq!(queue.known.len(), distinct.len());
        }
        for worker in &mut workers {
            worker.running.clear();
            while take(&mut queue, &mut waits, worker) {
                worker.running.clear();
            }
        }
        let fits = |need: &Arc<Resources>| {
            workers.iter().any(|worker| need.on(&worker.capacity).fits(&worker.capacity))
        };
        prop_assert!(!waits.values().any(|(_, need)| fits(need)), "all that fits somewhere has run");
    }
}
