//! The harness, tested: a disk that breaks its promises must be found out, and one that keeps them
//! must not.

use milepost::testing::{Image, Rng, Sabotage};

use super::super::class::Outcome;
use super::judge::Judge;
use super::story::{Mode, Teller};
use super::workloads::WORKLOADS;

/// What the judge said of some hundred power cuts.
#[derive(Debug, Default)]
struct Verdicts {
    cuts: usize,
    objections: usize,
    /// Cuts at which a commit had been acknowledged, and nothing was left but what was flushed.
    bare: usize,
    bare_objections: usize,
}

fn verdicts(sabotage: Option<Sabotage>) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for (name, work) in WORKLOADS {
        let mut teller = Teller::begin(name, Mode::OnePhase).unwrap();
        if let Some(sabotage) = sabotage {
            teller.disk.sabotage(sabotage);
        }
        work(&mut teller, &mut Rng::new(1)).unwrap();
        let story = teller.end().unwrap();
        for point in (0..story.trace.points()).step_by(31) {
            let allowed = story.allowed(point);
            for image in [Image::Nothing, Image::Everything, Image::Random { seed: 3 }] {
                let judge = Judge::new(&story, allowed.clone());
                let objects =
                    judge.after_power_cut(story.trace.cut(point, &image)) != Outcome::Same;
                let is_bare = image == Image::Nothing && *allowed.start() > 0;
                verdicts.cuts += 1;
                verdicts.objections += usize::from(objects);
                verdicts.bare += usize::from(is_bare);
                verdicts.bare_objections += usize::from(is_bare && objects);
            }
        }
    }
    println!("{sabotage:?}: {verdicts:?}");
    verdicts
}

/// Against: a harness that finds fault with everything, and so with nothing.
#[test]
fn an_honest_disk_passes() {
    let found = verdicts(None);
    assert_eq!(found.objections, 0, "{found:?}");
    assert!(found.cuts > 150 && found.bare > 40, "{found:?}");
}

/// Against: a harness that does not notice when acknowledged commits are lost. Where nothing was ever
/// flushed they all are; the other images keep some of the writes, or all of them.
#[test]
fn a_disk_that_skips_its_flushes_fails() {
    let found = verdicts(Some(Sabotage::SkipSyncs));
    assert!(found.bare > 40, "{found:?}");
    assert_eq!(found.bare_objections, found.bare, "{found:?}");
}

/// Against: the same for a disk that loses the one write that makes a commit count.
#[test]
fn a_disk_that_drops_the_header_fails() {
    let found = verdicts(Some(Sabotage::DropHeader));
    assert!(found.bare > 40, "{found:?}");
    assert_eq!(found.bare_objections, found.bare, "{found:?}");
}
