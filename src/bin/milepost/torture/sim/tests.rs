//! The harness, tested: a disk that breaks its promises must be found out, and one that keeps them
//! must not.

use milepost::testing::{Image, Rng, Sabotage};

use super::super::class::Outcome;
use super::judge::Judge;
use super::story::{Mode, Teller};
use super::workloads::WORKLOADS;

/// How many of some hundred power cuts the judge objects to.
fn objections(sabotage: Option<Sabotage>) -> usize {
    let mut objections = 0;
    for (name, work) in WORKLOADS {
        let mut teller = Teller::begin(name, Mode::OnePhase).unwrap();
        if let Some(sabotage) = sabotage {
            teller.disk.sabotage(sabotage);
        }
        work(&mut teller, &mut Rng::new(1)).unwrap();
        let story = teller.end().unwrap();
        for point in (0..story.trace.points()).step_by(31) {
            for image in [Image::Nothing, Image::Everything, Image::Random { seed: 3 }] {
                let judge = Judge::new(&story, story.allowed(point));
                if judge.after_power_cut(story.trace.cut(point, &image)) != Outcome::Same {
                    objections += 1;
                }
            }
        }
    }
    objections
}

/// Against: a harness that finds fault with everything, and so with nothing.
#[test]
fn an_honest_disk_passes() {
    assert_eq!(objections(None), 0);
}

/// Against: a harness that does not notice when acknowledged commits are lost.
#[test]
fn a_disk_that_skips_its_flushes_fails() {
    let found = objections(Some(Sabotage::SkipSyncs));
    assert!(found > 20, "{found}");
}

/// Against: the same for a disk that loses the one write that makes a commit count.
#[test]
fn a_disk_that_drops_the_header_fails() {
    let found = objections(Some(Sabotage::DropHeader));
    assert!(found > 20, "{found}");
}
