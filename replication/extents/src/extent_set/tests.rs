use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn all(set: &ExtentSet) -> BTreeSet<u64> {
    set.runs.iter().flat_map(|(start, end)| *start..*end).collect()
}

#[test]
fn beyond_its_limit_it_names_too_many_and_never_too_few() {
    let mut set = ExtentSet::default();
    for number in 0..RUNS_MAX as u64 * 3 {
        set.insert(number * 3..number * 3 + 1);
    }
    assert_eq!(set.runs.len(), RUNS_MAX);
    assert!((0..RUNS_MAX as u64 * 3).all(|number| all(&set).contains(&(number * 3))));
    assert_eq!(all(&set).len() as u64, set.count());
}

#[test]
fn extents_of_a_span_are_those_it_touches() {
    let span = Span::new(EXTENT_BYTES - 1, 2).unwrap();
    assert_eq!(extents_of(span), 0..2);
    assert_eq!(span_of(&(0..2)), Span::new(0, 2 * EXTENT_BYTES).unwrap());
    assert_eq!(span_of(&(1..u64::MAX)).end(), FILE_BYTES_MAX);
}

proptest! {
    #[test]
    fn it_holds_what_a_plain_set_holds(
        steps in prop::collection::vec((0..4_u8, 0..60_u64, 1..9_u64), 0..60),
    ) {
        let (mut set, mut plain) = (ExtentSet::default(), BTreeSet::new());
        for (step, at, len) in steps {
            match step {
                0 | 1 => {
                    set.insert(at..at + len);
                    plain.extend(at..at + len);
                }
                2 => {
                    set.cut(at);
                    plain.retain(|number| *number < at);
                }
                _ => {
                    let next = plain.range(at..).next().or(plain.first()).copied();
                    let taken = set.take_from(at, len);
                    prop_assert_eq!(taken.as_ref().map(|taken| taken.start), next);
                    for number in taken.unwrap_or_default() {
                        prop_assert!(plain.remove(&number));
                    }
                }
            }
            prop_assert_eq!(&all(&set), &plain);
            prop_assert_eq!(set.count(), plain.len() as u64);
        }
    }
}
