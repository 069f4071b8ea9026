//! How long nothing was acknowledged after a fault.
//!
//! *Invariant*: a stretch is measured from the fault or the last acknowledgement, whichever is later, to the next acknowledgement of
//! an operation, whenever that was; clients that hang count as much as servers that refuse.

use std::time::Duration;

use crate::history::Operation;

/// Something done to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: String,
    /// Nanoseconds since the history began.
    pub at_ns: u64,
}

/// The longest stretch without an acknowledgement that began between a fault and the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub fault: Fault,
    pub length: Duration,
    /// Whether anything was acknowledged after it. Where not, the length is that to the end of the load.
    pub is_over: bool,
}

/// The outage of each fault. `counts` says whose acknowledgements count; the load ended at `end_ns`.
pub fn outages<Call, Reply>(
    history: &[Operation<Call, Reply>],
    faults: &[Fault],
    end_ns: u64,
    counts: impl Fn(&Call) -> bool,
) -> Vec<Outage> {
    let counted = history.iter().filter(|operation| counts(&operation.call));
    let mut acknowledged: Vec<u64> = counted.filter_map(Operation::answer).map(|(_, at_ns)| at_ns).collect();
    acknowledged.sort_unstable();
    let mut faults = faults.to_vec();
    faults.sort_by_key(|fault| fault.at_ns);
    let ends: Vec<u64> = faults
        .iter()
        .skip(1)
        .map(|fault| fault.at_ns)
        .chain([u64::MAX])
        .collect();
    let outage = |(fault, next_fault): (Fault, u64)| {
        let first = acknowledged.partition_point(|at| *at <= fault.at_ns);
        let mut longest = (0, true);
        let mut from = fault.at_ns;
        for at in &acknowledged[first..] {
            if from >= next_fault {
                break;
            }
            longest = longest.max((at - from, true));
            from = *at;
        }
        if from < next_fault && acknowledged.last().is_none_or(|last| *last <= from) && from < end_ns {
            let open = end_ns - from;
            longest = if open > longest.0 { (open, false) } else { longest };
        }
        let (length_ns, is_over) = longest;
        let length = Duration::from_nanos(length_ns);
        Outage { fault, length, is_over }
    };
    faults.into_iter().zip(ends).map(outage).collect()
}
