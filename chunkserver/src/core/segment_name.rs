//! Names of segment files: `<number, 20 digits>` and how far its life has come: `.making`, `.segment`, `.condemned`, `.damaged`.
//!
//! Pure. Invariant: one number has one file, whose name says how far its life has come, also after a crash.

use super::position::SegmentId;

/// How far a segment's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was never used: removed at the next start.
    Making,
    /// It holds records.
    Serving,
    /// What is needed of it is being moved; until it is gone, records may be there twice.
    Condemned,
    /// What could be read of it was moved; it is kept for what could not, and is no part of the log any more.
    SetAside,
}

const SUFFIXES: [(&str, Stage); 4] = [
    (".making", Stage::Making),
    (".segment", Stage::Serving),
    (".condemned", Stage::Condemned),
    (".damaged", Stage::SetAside),
];
const DIGITS: usize = 20;

/// The name of a segment's file.
pub(crate) fn segment_name(segment: SegmentId, stage: Stage) -> String {
    let (suffix, _) = SUFFIXES
        .iter()
        .find(|(_, of)| *of == stage)
        .expect("each stage has one");
    format!("{:0DIGITS$}{suffix}", segment.value())
}

/// The segment of a file; `None` where the name is none of ours.
pub(crate) fn parse_segment_name(name: &str) -> Option<(SegmentId, Stage)> {
    let (digits, suffix) = name.split_at_checked(DIGITS)?;
    let (_, stage) = SUFFIXES.iter().find(|(of, _)| *of == suffix)?;
    let segment = SegmentId::new(digits.parse().ok()?);
    (segment_name(segment, *stage) == name).then_some((segment, *stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        for stage in [Stage::Making, Stage::Serving, Stage::Condemned, Stage::SetAside] {
            let name = segment_name(SegmentId::new(42), stage);
            assert_eq!(parse_segment_name(&name), Some((SegmentId::new(42), stage)));
        }
        for other in [
            "",
            "42.segment",
            "+0000000000000000042.segment",
            "00000000000000000042.seg",
            "lost+found",
        ] {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
    }
}
