//! The search for an order of one partition's operations: Wing and Gong's, with Lowe's memory of configurations already
//! tried ("Testing for linearizability", 2017), as porcupine does it.
//!
//! The search takes one operation after the other that may be next (invoked before the first pending return) and whose reply
//! the state allows, and goes back where none is left. What is reached by it is a configuration: the answered operations taken,
//! the state after them, and those of unknown outcome taken. One that was reached before, with the same of unknown outcome or fewer, is
//! not tried again. The answered ones are kept as the first not yet taken and the few taken beyond it, so a configuration has the
//! size of the concurrency and not of the history. Of several operations of unknown outcome with the same call the first
//! is taken first: once taken they cannot be told apart, and it may be taken wherever the others may.
//!
//! Three rules keep the configurations few. The last two are comparisons of states.
//! 1. An answered operation that may be next and that changes no state at all, by its reply, is taken at once, and nothing
//!    else is tried there: whatever explains the rest explains it behind this operation too.
//! 2. Let `u` of unknown outcome be the last operation taken. If `w` gives the same reply and state without `u`, `w` is not tried:
//!    the order without `u` serves as well. So is nothing of unknown outcome that leaves the state as it is.
//! 3. If `w` was answered, and `w` then `u` gives the same reply and state, `w` is not tried: that order is tried too.
//!
//! A specification may also know replies that are out of reach from a state; a step to such a state is not taken.
//!
//! *Invariant*: the rules lose no history that can be explained. Suppose that they did. Of the configurations visited from which
//! the history can be completed, and of those completions, look at one with the fewest operations of unknown outcome in all,
//! then the fewest answered ones left, then the shortest. If its first operation is taken, a lesser one is visited (now or before). If rule
//! 1 takes another, that one can be moved to the front: again a lesser one. Rule 2 gives one with fewer operations of unknown
//! outcome. Rule 3 points to the configuration before `u`, also visited, not under rule 1 (it would not have tried `u`); there `w`
//! is tried, or rule 2 or 3 applies again, at last at one where it is tried: that leaves fewer answered ones. So there is no least.

use std::collections::HashMap;
use std::mem::size_of;
use std::time::Instant;

use super::checker::Violation;
use super::operation::Outcome;
use super::specification::{Recorded, Specification};
use super::taken::{Taken, is_subset};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 1024;
/// Operations that a violation shows.
const SHOWN: usize = 12;
/// The list's head, also its end.
const HEAD: usize = 0;

/// How a search has ended.
pub(super) enum Ending {
    Ordered,
    /// The partition's name is left to the caller.
    Stuck(Violation),
    /// The bound that was reached.
    Bounded(String),
}

/// What an entry of the list of events is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Head,
    /// An operation may be taken from here on.
    Call(usize),
    /// It must have been taken by here.
    Return,
}

/// One operation of the partition.
struct Item<'a, S: Specification> {
    operation: &'a Recorded<S>,
    /// `None` where the outcome is unknown.
    reply: Option<&'a S::Reply>,
    /// Number by invocation, among the answered or among the unknown ones.
    rank: u32,
    /// Where among the candidates it belongs.
    pass: Pass,
    /// An operation of unknown outcome: the one before it with the same call.
    twin: Option<u32>,
    call_entry: usize,
    return_entry: Option<usize>,
}

/// Events in the order of time, as a list that operations are taken out of and put back into in reverse order.
struct Events {
    kinds: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

/// What was reached, but for the operations of unknown outcome taken on the way.
#[derive(PartialEq, Eq, Hash)]
struct Configuration<State> {
    below: u32,
    beyond: Box<[u32]>,
    state: State,
}

/// One step of the attempt under way.
struct Step<State> {
    item: usize,
    /// The state before.
    before: State,
    /// Where the search went on among the candidates of that state.
    cursor: Cursor,
}

/// A place among the candidates of a configuration.
#[derive(Clone, Copy)]
struct Cursor {
    entry: usize,
    pass: Pass,
}

/// The candidates are gone through three times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Answered operations that change nothing: the first one is the only one taken.
    Looks,
    /// Other answered operations.
    Changes,
    /// Operations of unknown outcome.
    Unknown,
    /// Nothing more is tried.
    Over,
}

pub(super) struct Search<'a, S: Specification> {
    specification: &'a S,
    items: Vec<Item<'a, S>>,
    events: Events,
    taken: Taken,
    answered: usize,
    answered_taken: usize,
    steps: Vec<Step<S::State>>,
    state: S::State,
    /// With the sets of operations of unknown outcome that they were reached by; none of them contains another.
    seen: HashMap<Configuration<S::State>, Vec<Box<[u32]>>>,
    seen_bytes: usize,
    memory_bytes: usize,
    deadline: Instant,
    longest: Option<Violation>,
}

impl<'a, S: Specification> Search<'a, S> {
    pub(super) fn new(
        specification: &'a S,
        mut operations: Vec<&'a Recorded<S>>,
        memory_bytes: usize,
        deadline: Instant,
    ) -> Self {
        operations.sort_by_key(|operation| operation.invoked_ns);
        let (items, events) = lay_out(specification, &operations);
        Self {
            specification,
            answered: items.iter().filter(|item| item.reply.is_some()).count(),
            items,
            events,
            taken: Taken::default(),
            answered_taken: 0,
            steps: Vec::new(),
            state: specification.initial(),
            seen: HashMap::new(),
            seen_bytes: 0,
            memory_bytes,
            deadline,
            longest: None,
        }
    }

    pub(super) fn run(mut self) -> Ending {
        let mut cursor = self.first();
        let mut count: u64 = 0;
        while self.answered_taken < self.answered {
            count += 1;
            if count.is_multiple_of(STEPS_PER_LOOK) && Instant::now() > self.deadline {
                return Ending::Bounded(format!("the time was up after {count} steps"));
            }
            if self.seen_bytes > self.memory_bytes {
                let configurations = self.seen.len();
                return Ending::Bounded(format!("the memory was used up by {configurations} configurations"));
            }
            if let Some((item, after)) = self.candidate(&mut cursor) {
                if self.take(item, after, cursor) {
                    cursor = self.first();
                }
                continue;
            }
            self.note_longest();
            let Some(undone) = self.step_back() else {
                let violation = self.longest.expect("the search got stuck at least once");
                return Ending::Stuck(violation);
            };
            cursor = undone;
        }
        Ending::Ordered
    }

    fn first(&self) -> Cursor {
        Cursor {
            entry: self.events.next[HEAD],
            pass: Pass::Looks,
        }
    }

    /// The next operation that may be taken, with the state after it; the cursor then stands behind it.
    fn candidate(&self, cursor: &mut Cursor) -> Option<(usize, S::State)> {
        loop {
            let item = match self.events.kinds[cursor.entry] {
                Event::Call(item) => item,
                Event::Head | Event::Return => {
                    cursor.pass = match cursor.pass {
                        Pass::Looks => Pass::Changes,
                        Pass::Changes => Pass::Unknown,
                        Pass::Unknown | Pass::Over => return None,
                    };
                    cursor.entry = self.events.next[HEAD];
                    continue;
                }
            };
            cursor.entry = self.events.next[cursor.entry];
            if self.items[item].pass != cursor.pass {
                continue;
            }
            let after = self.worthwhile(item);
            let Some(after) = after.filter(|after| !self.is_dead_end(item, after)) else {
                continue;
            };
            if cursor.pass == Pass::Looks {
                cursor.pass = Pass::Over;
            }
            return Some((item, after));
        }
    }

    /// The state after the operation, unless it cannot be next or the rules of the module say that it need not be tried.
    fn worthwhile(&self, item: usize) -> Option<S::State> {
        let Item { operation, reply, .. } = self.items[item];
        let after = self.specification.step(&self.state, &operation.call, reply)?;
        let twin_is_left = self.items[item]
            .twin
            .is_some_and(|twin| !self.taken.unknown.contains(&twin));
        if reply.is_none() && (twin_is_left || after == self.state) {
            return None;
        }
        let last = self.steps.last();
        let Some(last) = last.filter(|step| self.items[step.item].reply.is_none()) else {
            return Some(after);
        };
        let Some(without) = self.specification.step(&last.before, &operation.call, reply) else {
            return Some(after);
        };
        let swapped = || {
            self.specification
                .step(&without, &self.items[last.item].operation.call, None)
        };
        let needless = without == after || reply.is_some() && swapped().as_ref() == Some(&after);
        (!needless).then_some(after)
    }

    /// Whether one of the operations to come cannot be answered once `taken` was taken with the state `after` it.
    fn is_dead_end(&self, taken: usize, after: &S::State) -> bool {
        let mut left = S::LOOK_AHEAD;
        let mut entry = self.events.next[HEAD];
        while left > 0 && entry != HEAD {
            if let Event::Call(item) = self.events.kinds[entry] {
                let Item { operation, reply, .. } = self.items[item];
                if let Some(reply) = reply.filter(|_| item != taken) {
                    if self.specification.is_out_of_reach(after, &operation.call, reply) {
                        return true;
                    }
                    left -= 1;
                }
            }
            entry = self.events.next[entry];
        }
        false
    }

    /// Takes an operation, unless that gives a configuration seen before. `cursor` is where to go on should it be undone.
    fn take(&mut self, item: usize, after: S::State, cursor: Cursor) -> bool {
        let (rank, is_answered) = (self.items[item].rank, self.items[item].reply.is_some());
        self.taken.insert(rank, is_answered);
        if !self.is_new(&after) {
            self.taken.remove(rank, is_answered);
            return false;
        }
        self.answered_taken += usize::from(is_answered);
        self.events.unlink(&self.items[item]);
        let before = std::mem::replace(&mut self.state, after);
        self.steps.push(Step { item, before, cursor });
        true
    }

    /// Whether what is taken now, with this state after it, was reached for the first time with so few unknown operations.
    fn is_new(&mut self, after: &S::State) -> bool {
        let Taken { below, beyond, unknown } = &self.taken;
        let configuration = Configuration {
            below: *below,
            beyond: beyond.as_slice().into(),
            state: after.clone(),
        };
        let own_bytes = size_of::<Configuration<S::State>>() + size_of_val(beyond.as_slice()) + size_of::<u64>();
        let ways = self.seen.entry(configuration).or_insert_with(|| {
            self.seen_bytes += own_bytes;
            Vec::new()
        });
        if ways.iter().any(|way| is_subset(way, unknown)) {
            return false;
        }
        let bytes = |way: &[u32]| size_of::<Box<[u32]>>() + size_of_val(way);
        self.seen_bytes += bytes(unknown);
        ways.retain(|way| {
            let stays = !is_subset(unknown, way);
            self.seen_bytes -= if stays { 0 } else { bytes(way) };
            stays
        });
        ways.push(unknown.as_slice().into());
        true
    }

    /// Undoes the last step and says where to go on.
    fn step_back(&mut self) -> Option<Cursor> {
        let Step { item, before, cursor } = self.steps.pop()?;
        self.state = before;
        let item = &self.items[item];
        self.events.relink(item);
        let is_answered = item.reply.is_some();
        self.answered_taken -= usize::from(is_answered);
        self.taken.remove(item.rank, is_answered);
        Some(cursor)
    }

    /// Remembers the attempt if none has come further.
    fn note_longest(&mut self) {
        if self
            .longest
            .as_ref()
            .is_some_and(|longest| longest.placed >= self.answered_taken)
        {
            return;
        }
        let shown = self.steps.len().saturating_sub(SHOWN);
        let before = self.steps[shown..].iter().map(|step| self.describe(step.item));
        let mut stuck = Vec::new();
        let mut entry = self.events.next[HEAD];
        while let Event::Call(item) = self.events.kinds[entry] {
            if self.items[item].reply.is_some() && stuck.len() < SHOWN {
                stuck.push(self.describe(item));
            }
            entry = self.events.next[entry];
        }
        self.longest = Some(Violation {
            partition: String::new(),
            placed: self.answered_taken,
            needed: self.answered,
            before: before.collect(),
            state: format!("{:?}", self.state),
            stuck,
        });
    }

    fn describe(&self, item: usize) -> String {
        let operation = self.items[item].operation;
        let (process, call, from) = (operation.process, &operation.call, operation.invoked_ns);
        match operation.answer() {
            Some((reply, to)) => format!("[{from}, {to}] process {process}: {call:?} -> {reply:?}"),
            None => format!("[{from}, ...] process {process}: {call:?}, outcome unknown"),
        }
    }
}

/// Numbers the operations and lays their events out. `operations` is in the order of invocations.
fn lay_out<'a, S: Specification>(specification: &S, operations: &[&'a Recorded<S>]) -> (Vec<Item<'a, S>>, Events) {
    let mut items = Vec::with_capacity(operations.len());
    // At one and the same time a call stands before a return: whether they overlapped cannot be told.
    let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(operations.len() * 2);
    let (mut answered, mut unknown) = (0, 0);
    for (index, operation) in operations.iter().enumerate() {
        let (reply, rank) = match &operation.outcome {
            Outcome::Answered { reply, returned_ns } => {
                let invoked_ns = operation.invoked_ns;
                assert!(
                    *returned_ns >= invoked_ns,
                    "an operation returned before it was invoked"
                );
                order.push((*returned_ns, true, index));
                (Some(reply), &mut answered)
            }
            Outcome::Unknown | Outcome::Failed { .. } => (None, &mut unknown),
        };
        order.push((operation.invoked_ns, false, index));
        let pass = match reply {
            Some(reply) if specification.is_look(&operation.call, reply) => Pass::Looks,
            Some(_) => Pass::Changes,
            None => Pass::Unknown,
        };
        items.push(Item {
            operation,
            reply,
            rank: *rank,
            pass,
            twin: None,
            call_entry: HEAD,
            return_entry: None,
        });
        *rank += 1;
    }
    find_twins(&mut items);
    order.sort_unstable();
    let mut kinds = vec![Event::Head];
    for (_, is_return, index) in order {
        if is_return {
            items[index].return_entry = Some(kinds.len());
            kinds.push(Event::Return);
        } else {
            items[index].call_entry = kinds.len();
            kinds.push(Event::Call(index));
        }
    }
    let count = kinds.len();
    let events = Events {
        kinds,
        next: (0..count).map(|entry| (entry + 1) % count).collect(),
        previous: (0..count).map(|entry| (entry + count - 1) % count).collect(),
    };
    (items, events)
}

fn find_twins<S: Specification>(items: &mut [Item<'_, S>]) {
    let unknown: Vec<usize> = (0..items.len()).filter(|index| items[*index].reply.is_none()).collect();
    for (place, index) in unknown.iter().enumerate() {
        let call = &items[*index].operation.call;
        let earlier = unknown[..place]
            .iter()
            .rev()
            .find(|earlier| items[**earlier].operation.call == *call);
        items[*index].twin = earlier.map(|earlier| items[*earlier].rank);
    }
}

impl Events {
    fn unlink<S: Specification>(&mut self, item: &Item<'_, S>) {
        for entry in [Some(item.call_entry), item.return_entry].into_iter().flatten() {
            let (previous, next) = (self.previous[entry], self.next[entry]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    /// Puts back the operation that was taken out last.
    fn relink<S: Specification>(&mut self, item: &Item<'_, S>) {
        for entry in [item.return_entry, Some(item.call_entry)].into_iter().flatten() {
            let (previous, next) = (self.previous[entry], self.next[entry]);
            self.next[previous] = entry;
            self.previous[next] = entry;
        }
    }
}
