//! An explicit-state model checker: every state that a model can reach, breadth first.
//!
//! It checks two things. *Always*: no reachable state breaks a rule. *At last*: from every reachable state a clean one can
//! be reached by calm steps alone, those that go on when all clients have stopped. In a finite model that is the same as
//! "every fair calm run ends clean", and unlike a search for bad runs it is sound where runs join and go round in circles.
//! A failure comes with a shortest trace. The `stateright` crate was looked at: its search for "at last" misses bad runs
//! where paths join or circle, and it brings a web server and some forty crates for what is needed here in one file.
//!  Invariant: states are compared whole, never by hash alone, so "checked" means all.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt::{self, Debug},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
};

/// What can happen, and what must hold.
pub trait Model {
    /// Everything there is to know at one moment.
    type State: Clone + Eq + Hash + Debug;
    /// One step.
    type Action: Clone + Debug;

    /// Where every run starts.
    fn initial(&self) -> Self::State;
    /// Adds the steps that are possible in `state`.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);
    /// The state after a step that is possible in `state`.
    fn after(&self, state: &Self::State, action: &Self::Action) -> Self::State;
    /// Whether the step also happens when all clients have stopped.
    fn is_calm(&self, action: &Self::Action) -> bool;
    /// The rule that `state` breaks.
    fn breach(&self, state: &Self::State) -> Option<String>;
    /// Whether nothing is left to be done in `state`.
    fn is_clean(&self, state: &Self::State) -> bool;
}

/// How large the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// States that can be reached.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Steps to the state that is furthest from the start.
    pub depth: usize,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The last state breaks this rule.
    Breach(String),
    /// From the last state no clean one can be reached by calm steps.
    NeverClean,
    /// There are more states than were allowed; nothing is said about the rest.
    TooManyStates,
}

/// A run that ends where something is wrong; no shorter one does.
#[derive(Clone, Debug)]
pub struct Failure<M: Model> {
    /// What is wrong at its end.
    pub wrong: Wrong,
    /// Its steps.
    pub steps: Vec<M::Action>,
    /// Its last state.
    pub state: M::State,
}

impl<M: Model> fmt::Display for Failure<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:?} after {} steps:", self.wrong, self.steps.len())?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(formatter, "{:4}  {step:?}", number + 1)?;
        }
        write!(formatter, "{:#?}", self.state)
    }
}

/// Visits every state of `model`, or stops at the first failure. At most `states_max` states are kept.
pub fn check<M: Model>(model: &M, states_max: usize) -> Result<Report, Box<Failure<M>>> {
    let mut graph = Graph::new();
    graph.reach(model.initial(), 0, 0);
    let (mut actions, mut steps, mut next) = (Vec::new(), 0, 0);
    while next < graph.states.len() {
        let state = graph.states[next].clone();
        if let Some(breach) = model.breach(&state) {
            return Err(graph.failure(model, next, Wrong::Breach(breach)));
        }
        if graph.states.len() > states_max {
            return Err(graph.failure(model, next, Wrong::TooManyStates));
        }
        actions.clear();
        model.actions(&state, &mut actions);
        for action in &actions {
            let reached = graph.reach(model.after(&state, action), next, graph.depths[next] + 1);
            if model.is_calm(action) {
                graph.calm.push(narrow(reached));
            }
        }
        steps += actions.len();
        graph.calm_ends.push(graph.calm.len());
        next += 1;
    }
    if let Some(stuck) = graph.never_clean(model) {
        return Err(graph.failure(model, stuck, Wrong::NeverClean));
    }
    Ok(Report {
        states: graph.states.len(),
        steps,
        depth: graph.depths.last().copied().unwrap_or_default() as usize,
    })
}

/// States by number, in the order in which they were found.
struct Graph<S> {
    states: Vec<S>,
    /// From a hash to a number; the next hash is taken where another state has the place.
    numbers: HashMap<u64, u32>,
    hasher: BuildHasherDefault<DefaultHasher>,
    /// The state that each was first reached from.
    parents: Vec<u32>,
    depths: Vec<u32>,
    /// Ends of calm steps: those from state `n` lie before `calm_ends[n]` and behind the end before.
    calm: Vec<u32>,
    calm_ends: Vec<usize>,
}

impl<S: Clone + Eq + Hash> Graph<S> {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            numbers: HashMap::new(),
            hasher: BuildHasherDefault::default(),
            parents: Vec::new(),
            depths: Vec::new(),
            calm: Vec::new(),
            calm_ends: Vec::new(),
        }
    }

    /// The number of `state`, which gets one where it is new.
    fn reach(&mut self, state: S, parent: usize, depth: u32) -> usize {
        let mut hash = self.hasher.hash_one(&state);
        loop {
            match self.numbers.entry(hash) {
                Entry::Occupied(taken) if self.states[*taken.get() as usize] == state => return *taken.get() as usize,
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
                Entry::Vacant(free) => {
                    let number = self.states.len();
                    free.insert(narrow(number));
                    self.states.push(state);
                    self.parents.push(narrow(parent));
                    self.depths.push(depth);
                    return number;
                }
            }
        }
    }

    /// The first state from which calm steps lead to no clean one.
    fn never_clean<M: Model<State = S>>(&self, model: &M) -> Option<usize> {
        let count = self.states.len();
        // The calm steps turned round, laid out like `calm`: counted, then filled in from the back.
        let mut starts = vec![0_usize; count + 1];
        for target in &self.calm {
            starts[*target as usize] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut sources = vec![0_u32; self.calm.len()];
        for source in 0..count {
            let begin = if source == 0 { 0 } else { self.calm_ends[source - 1] };
            for target in &self.calm[begin..self.calm_ends[source]] {
                let start = &mut starts[*target as usize];
                *start -= 1;
                sources[*start] = narrow(source);
            }
        }
        let mut leads: Vec<bool> = self.states.iter().map(|state| model.is_clean(state)).collect();
        let mut open: VecDeque<usize> = (0..count).filter(|number| leads[*number]).collect();
        while let Some(target) = open.pop_front() {
            for source in &sources[starts[target]..starts[target + 1]] {
                let source = *source as usize;
                if !std::mem::replace(&mut leads[source], true) {
                    open.push_back(source);
                }
            }
        }
        leads.iter().position(|leads| !leads)
    }

    fn failure<M: Model<State = S>>(&self, model: &M, end: usize, wrong: Wrong) -> Box<Failure<M>> {
        let mut path = vec![end];
        let mut number = end;
        while number != 0 {
            number = self.parents[number] as usize;
            path.push(number);
        }
        path.reverse();
        let step = |pair: &[usize]| {
            let (from, to) = (&self.states[pair[0]], &self.states[pair[1]]);
            let mut actions = Vec::new();
            model.actions(from, &mut actions);
            let taken = actions.into_iter().find(|action| model.after(from, action) == *to);
            taken.expect("a state was reached by a step from its parent")
        };
        Box::new(Failure {
            wrong,
            steps: path.windows(2).map(step).collect(),
            state: self.states[end].clone(),
        })
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("memory ends before four billion states")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up to a largest number, by any of some strides; calm steps are those by one.
    struct Counter {
        largest: u32,
        bad: Option<u32>,
        clean: u32,
        strides: &'static [u32],
        wraps: bool,
    }

    impl Model for Counter {
        type State = u32;
        type Action = u32;

        fn initial(&self) -> u32 {
            0
        }

        fn actions(&self, state: &u32, actions: &mut Vec<u32>) {
            let fits = |stride: &&u32| self.wraps || *state + **stride <= self.largest;
            actions.extend(self.strides.iter().filter(fits));
        }

        fn after(&self, state: &u32, action: &u32) -> u32 {
            (state + action) % (self.largest + 1)
        }

        fn is_calm(&self, action: &u32) -> bool {
            *action == 1
        }

        fn breach(&self, state: &u32) -> Option<String> {
            (self.bad == Some(*state)).then(|| "the bad number".to_owned())
        }

        fn is_clean(&self, state: &u32) -> bool {
            *state == self.clean
        }
    }

    const COUNTER: Counter = Counter {
        largest: 9,
        bad: None,
        clean: 9,
        strides: &[1, 3],
        wraps: false,
    };

    #[test]
    fn all_states_are_counted() {
        let report = check(&COUNTER, 100).map_err(|failure| failure.wrong);
        // The furthest is 8: three, three, one, one.
        let expected = Report {
            states: 10,
            steps: 9 + 7,
            depth: 4,
        };
        assert_eq!(report, Ok(expected));
    }

    #[test]
    fn a_bad_state_is_found_by_a_shortest_run() {
        let model = Counter {
            bad: Some(7),
            ..COUNTER
        };
        let failure = check(&model, 100).expect_err("7 is reached");
        assert_eq!(failure.wrong, Wrong::Breach("the bad number".to_owned()));
        assert_eq!((failure.steps.len(), failure.steps.iter().sum::<u32>()), (3, 7));
    }

    #[test]
    fn a_state_behind_the_clean_one_never_gets_there() {
        let model = Counter { clean: 5, ..COUNTER };
        let failure = check(&model, 100).expect_err("6 and more do not come back to 5");
        assert_eq!((failure.wrong, failure.state), (Wrong::NeverClean, 6));
    }

    #[test]
    fn a_circle_is_no_failure_where_it_can_be_left() {
        let model = Counter {
            clean: 5,
            wraps: true,
            ..COUNTER
        };
        assert!(check(&model, 100).is_ok());
    }

    #[test]
    fn a_step_that_is_not_calm_does_not_count_as_a_way_out() {
        let model = Counter {
            strides: &[3],
            ..COUNTER
        };
        let failure = check(&model, 100).expect_err("9 is reached by strides of three only");
        assert_eq!((failure.wrong, failure.state), (Wrong::NeverClean, 0));
    }

    #[test]
    fn the_bound_is_a_failure_and_no_pass() {
        let failure = check(&COUNTER, 4).expect_err("there are ten states");
        assert_eq!(failure.wrong, Wrong::TooManyStates);
    }
}
