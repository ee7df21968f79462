//! Random plans with random outcomes, driven through the machine in random order, end as a simple
//! model says that walks the plan once from top to bottom.

use std::collections::BTreeMap;

use super::*;
use crate::machine::nodes::Role;

/// Numbers that follow from a seed (splitmix64, Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.below(chances) == 0
    }
}

/// A plan and what happens in it; what happens to a step follows from its path.
struct World {
    rules: Vec<StepRules>,
    needs: Vec<Vec<u32>>,
    data: Vec<Vec<u32>>,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self { rules: vec![], needs: vec![], data: vec![], seed };
        let mut dice = Dice(seed);
        world.add_steps(&mut dice, None);
        let mut next = 0;
        while next < world.rules.len() {
            if let Work::Pipeline { .. } = world.rules[next].work {
                let parent = u32::try_from(next).unwrap();
                let first = u32::try_from(world.rules.len()).unwrap();
                let count = world.add_steps(&mut dice, Some(parent));
                world.rules[next].work = Work::Pipeline { first, count };
            }
            next += 1;
        }
        world
    }

    fn add_steps(&mut self, dice: &mut Dice, parent: Option<u32>) -> u32 {
        let first = u32::try_from(self.rules.len()).unwrap();
        let count = 1 + dice.below(5);
        for step in first..first + count {
            let chosen: Vec<u32> = (first..step).filter(|_| dice.one_in(2)).collect();
            let handler = !chosen.is_empty() && dice.one_in(5);
            let data = chosen.iter().copied().filter(|_| !handler && dice.one_in(2));
            self.data.push(data.collect());
            self.needs.push(chosen);
            let rules = self.rules(dice, handler, parent);
            self.rules.push(rules);
        }
        count
    }

    fn rules(&self, dice: &mut Dice, handler: bool, parent: Option<u32>) -> StepRules {
        let room = self.rules.len() < 16;
        let work = match dice.below(8) {
            0 => Work::Stub,
            1 => Work::Mock(Mock { fails: dice.one_in(2), sleep: Duration::ZERO }),
            2 => Work::Mock(Mock { fails: false, sleep: Duration::from_secs(1) }),
            3 | 4 if room => Work::Pipeline { first: 0, count: 0 },
            _ => Work::Attempts,
        };
        let spread = match (work, dice.below(4)) {
            (Work::Mock(_), _) => Spread::Once,
            (_, 0) => Spread::Each { max_parallel: dice.below(3) },
            (_, 1) => Spread::Loop { max: 1 + dice.below(3), succeed_at_max: dice.one_in(2) },
            (_, _) => Spread::Once,
        };
        StepRules {
            work,
            spread,
            asks: matches!(spread, Spread::Each { .. }) || dice.one_in(3),
            joins: dice.one_in(2),
            tolerated: dice.one_in(4),
            handler,
            parent,
            ..StepRules::PLAIN
        }
    }

    /// What is thrown for a path.
    fn dice(&self, path: &str, what: u8) -> Dice {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let bytes = path.bytes().chain([what]);
        Dice(bytes.fold(self.seed ^ 0xcbf2_9ce4_8422_2325, fold))
    }

    fn attempt_fails(&self, path: &str) -> bool {
        self.dice(path, 1).one_in(5)
    }

    fn entry(&self, step: u32, path: &str) -> Entry {
        let mut dice = self.dice(path, 2);
        match (dice.below(8), self.rules[at(step)].spread) {
            (0, _) => Entry::Skip,
            (1, _) => Entry::Fail,
            (_, Spread::Each { .. }) => Entry::Spread(dice.below(4)),
            (_, Spread::Once | Spread::Loop { .. }) => Entry::Go,
        }
    }

    /// Whether the condition of a loop holds after that many iterations.
    fn until(&self, path: &str, made: usize) -> bool {
        self.dice(&format!("{path}{made}"), 3).one_in(3)
    }

    fn join(&self, path: &str) -> Join {
        match self.dice(path, 4).below(6) {
            0 => Join::Fail,
            1 => Join::Reduce,
            _ => Join::Done,
        }
    }

    fn is_good(&self, step: u32, state: StepState) -> bool {
        match state {
            StepState::Succeeded | StepState::Skipped => true,
            StepState::Failed => self.rules[at(step)].tolerated,
            StepState::UpstreamFailed => false,
            StepState::Pending
            | StepState::Ready
            | StepState::Running
            | StepState::BackingOff
            | StepState::Reused
            | StepState::Cancelled => panic!("{state:?} is no end that is thrown here"),
        }
    }
}

/// The end of every step, by path.
type Ends = BTreeMap<String, StepState>;

/// The end of steps `first` to `first + count` in `around`, and whether all is well.
fn scope(world: &World, (first, count): (u32, u32), around: &str, ends: &mut Ends) -> bool {
    let mut states: BTreeMap<u32, StepState> = BTreeMap::new();
    for step in first..first + count {
        let path = format!("{around}{step}");
        let state = decided(world, step, &states).unwrap_or_else(|| run(world, step, &path, ends));
        ends.insert(path, state);
        states.insert(step, state);
    }
    states.iter().all(|(step, state)| world.is_good(*step, *state))
}

/// The state of a step that does not run.
fn decided(world: &World, step: u32, states: &BTreeMap<u32, StepState>) -> Option<StepState> {
    let needs = &world.needs[at(step)];
    if world.rules[at(step)].handler {
        let failed = needs.iter().any(|need| states[need] == StepState::Failed);
        return (!failed).then_some(StepState::Skipped);
    }
    if needs.iter().any(|need| !world.is_good(*need, states[need])) {
        return Some(StepState::UpstreamFailed);
    }
    let no_value = |need: &u32| states[need] != StepState::Succeeded;
    world.data[at(step)].iter().any(no_value).then_some(StepState::Skipped)
}

fn run(world: &World, step: u32, path: &str, ends: &mut Ends) -> StepState {
    let rules = &world.rules[at(step)];
    let entry = if rules.asks { world.entry(step, path) } else { Entry::Go };
    let good = match (entry, rules.spread) {
        (Entry::Skip, _) => return StepState::Skipped,
        (Entry::Fail, _) => false,
        (Entry::Spread(count), _) => {
            let one = |ordinal| body(world, step, &format!("{path}[{ordinal}]"), ends);
            let all: Vec<bool> = (0..count).map(one).collect();
            all.into_iter().all(|good| good) && joined(world, path)
        }
        (Entry::Go, Spread::Loop { max, succeed_at_max }) => {
            let mut made = 0;
            loop {
                if !body(world, step, &format!("{path}[{made}]"), ends) {
                    break false;
                }
                made += 1;
                if world.until(path, made) {
                    break true;
                }
                if made == at(max) {
                    break succeed_at_max;
                }
            }
        }
        (Entry::Go, _) => {
            return if body(world, step, path, ends) {
                StepState::Succeeded
            } else {
                StepState::Failed
            };
        }
    };
    if good { StepState::Succeeded } else { StepState::Failed }
}

/// A reducer that runs may fail too.
fn joined(world: &World, path: &str) -> bool {
    match world.join(path) {
        Join::Fail => false,
        Join::Reduce => !world.attempt_fails(path),
        Join::Done | Join::Until(_) => true,
    }
}

/// Does what a step does, once.
fn body(world: &World, step: u32, path: &str, ends: &mut Ends) -> bool {
    let rules = &world.rules[at(step)];
    let good = match rules.work {
        Work::Attempts => !world.attempt_fails(path),
        Work::Stub => true,
        Work::Mock(mock) => !mock.fails,
        Work::Pipeline { first, count } => {
            scope(world, (first, count), &format!("{path}/"), ends)
                && (!rules.joins || joined(world, path))
        }
    };
    ends.insert(path.to_owned(), if good { StepState::Succeeded } else { StepState::Failed });
    good
}

/// The machine with all that it waits for.
struct Driver<'a> {
    world: &'a World,
    machine: Machine,
    open: Vec<Effect>,
}

impl Driver<'_> {
    fn path(&self, step: StepIndex) -> String {
        let key = self.machine.key(step).unwrap();
        match (key.parent, key.ordinal) {
            (Some(parent), Some(ordinal)) => format!("{}[{ordinal}]", self.path(parent)),
            (Some(parent), None) => format!("{}/{}", self.path(parent), key.template.0),
            (None, _) => key.template.0.to_string(),
        }
    }

    /// What happens next to one of the things that the machine waits for.
    fn answer(&self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::Evaluate { step, join: false } => {
                let template = self.machine.key(step).unwrap().template;
                Event::Entered { step, entry: self.world.entry(template.0, &self.path(step)) }
            }
            Effect::Evaluate { step, join: true } => {
                let path = self.path(step);
                let made = self.machine.children(step).len();
                let join = match self.machine.nodes.role(self.machine.graph(), step) {
                    Some(Role::Loop { .. }) => Join::Until(self.world.until(&path, made)),
                    Some(_) | None => self.world.join(&path),
                };
                Event::Joined { step, made, join }
            }
            Effect::Wait { step, attempt, .. } => Event::WaitOver { step, attempt },
            Effect::Enqueue(step) => Event::Granted { step },
            Effect::StepChanged(_) | Effect::RunChanged | Effect::Stop { .. } => return None,
            Effect::TooManySteps(_) => panic!("so many are not made here"),
        })
    }

    fn send(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.machine.apply(event, NOW, &mut effects);
        self.open.extend(
            effects
                .into_iter()
                .filter(|effect| !matches!(effect, Effect::StepChanged(_) | Effect::RunChanged)),
        );
        if let Event::Granted { step } = event {
            let failed = self.world.attempt_fails(&self.path(step));
            let outcome = if failed { Outcome::Failed(Failure::Exit) } else { Outcome::Succeeded };
            let attempt = AttemptNumber(self.machine.cell(step).unwrap().attempt);
            self.send(Event::Ended { step, attempt, outcome, jitter: 0.0 });
        }
    }

    /// The daemon dies and comes back.
    fn restart(&mut self) {
        let stored = (0u32..)
            .zip(self.machine.cells())
            .map(|(step, cell)| (self.machine.key(StepIndex(step)).unwrap(), *cell));
        let (graph, run) = (Arc::clone(self.machine.graph()), self.machine.run());
        let restored = Machine::restore(graph, run, stored.collect());
        assert_eq!(restored.nodes, self.machine.nodes);
        self.machine = restored;
        self.open.clear();
        self.machine.derive(&mut self.open);
    }
}

/// Runs a world to its end, things happening in the order that `order` gives.
fn driven(world: &World, order: u64) -> (Ends, RunState) {
    let edges = world.needs.iter().zip(&world.data);
    let edges = edges.map(|(needs, data)| (needs.as_slice(), data.as_slice()));
    let graph = RunGraph::new(edges, world.rules.clone()).unwrap();
    let machine = Machine::new(Arc::new(graph));
    let mut driver = Driver { world, machine, open: vec![] };
    let mut dice = Dice(order);
    driver.send(Event::Begin);
    while !driver.machine.run().state.is_terminal() {
        assert!(!driver.open.is_empty(), "the run hangs: {:?}", words(&driver.machine));
        if dice.one_in(10) {
            driver.restart();
            continue;
        }
        let chosen = dice.below(u32::try_from(driver.open.len()).unwrap());
        let effect = driver.open.swap_remove(at(chosen));
        if let Some(event) = driver.answer(effect) {
            driver.send(event);
            if dice.one_in(4) {
                let before = driver.machine.cells().to_vec();
                // Repeats change nothing; a grant is answered by its end, so it cannot be repeated.
                if !matches!(event, Event::Granted { .. }) {
                    driver.machine.apply(event, NOW, &mut Vec::new());
                    assert_eq!(before, driver.machine.cells());
                }
            }
        }
    }
    let ends = (0u32..).zip(driver.machine.cells());
    let ends = ends.map(|(step, cell)| (driver.path(StepIndex(step)), cell.state));
    (ends.collect(), driver.machine.run().state)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_end_as_the_model_says(seed in any::<u64>(), order in any::<u64>()) {
        let world = World::new(seed);
        let top = world.rules.iter().take_while(|rules| rules.parent.is_none()).count();
        let mut wanted = Ends::new();
        let good = scope(&world, (0, u32::try_from(top).unwrap()), "", &mut wanted);
        let (ends, state) = driven(&world, order);
        prop_assert_eq!(ends, wanted);
        prop_assert_eq!(state, if good { RunState::Succeeded } else { RunState::Failed });
    }
}
