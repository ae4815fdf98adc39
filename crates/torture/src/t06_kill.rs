//! T6: SIGKILL for real processes on a real file system, at any moment and at every labelled point.
//!
//! The parent is the judge and the receiver. What the child has said is in the pipe even when the
//! child is gone, so nothing that was acknowledged is forgotten, and no effect either.

use std::path::Path;
use std::time::Duration;

use milepost::testing::Rng;

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::judge::Known;
use super::supervisor::{Death, End, Life, WITHOUT_END, judge, tell};

pub(crate) struct Kill;

/// How many kills a scale of 1 stands for, beside one at every labelled point.
const KILLS: f64 = 300.0;

impl Class for Kill {
    fn id(&self) -> &'static str {
        "T6"
    }

    fn about(&self) -> &'static str {
        "kill -9 of real processes, at any moment and at every labelled point"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let folder = tempfile::Builder::new()
            .prefix("t06-")
            .tempdir_in(&setting.folder)
            .map_err(|error| error.to_string())?;
        Ok(Box::new(Kills { points: all_points(folder.path())? }))
    }
}

struct Kills {
    points: Vec<Point>,
}

/// A labelled point: the child waits there to be killed.
#[derive(Debug, Clone)]
struct Point {
    label: String,
    /// The life before must end at this point, or the store cannot be in the right state.
    after: Option<&'static str>,
    on_disk: bool,
}

/// The points that have names, and the one that the life before must end at.
const NAMED: &[(&str, Option<&str>)] = &[
    ("step-before", None),
    ("step-inside", None),
    ("step-after", None),
    ("submit-queued", None),
    ("submit-first", None),
    ("batch-inside", None),
    ("batch-after", None),
    ("claim-before", None),
    ("claim-held", None),
    ("claim-called", None),
    ("claim-completed", None),
    ("relay-before", None),
    ("relay-sending", None),
    ("relay-sent", None),
    ("relay-asking", Some("relay-sent")),
    ("relay-after", None),
    ("close-before", None),
    ("close-after", None),
    // Not labels of the child's: the parent sees the file appear.
    ("appears .creating", None),
    ("appears ", None),
];

/// The lives that count the points, and are led again before each of them.
const FIRST: u64 = 7;
/// Of this one, what is submitted is one step: how steps share commits is for threads to decide.
const SECOND: u64 = 13;
/// Each kind of act once.
const FEW_ACTS: u64 = 5;

/// The named points, and those that a life which nobody kills counts.
fn all_points(folder: &Path) -> Result<Vec<Point>, String> {
    let point = |label: String, after, on_disk| Point { label, after, on_disk };
    let mut points: Vec<_> =
        NAMED.iter().map(|(label, after)| point((*label).to_owned(), *after, false)).collect();
    // Created; opened after a crash; and opened after a crash, on a disk whose operations count.
    let ways =
        [("a", false, None), ("b", false, Some("relay-sent")), ("c", true, Some("relay-sent"))];
    for (name, on_disk, after) in ways {
        let path = folder.join(name);
        let mut known = Known::default();
        if let Some(after) = after {
            let told = tell(&path, &Life::new(FIRST, false).paused(after), &mut known)?;
            if told != End::Killed {
                return Err(format!("no life reached {after}: {told:?}"));
            }
        }
        let life = Life { acts: FEW_ACTS, ..Life::new(SECOND, on_disk) };
        let counts = match tell(&path, &life, &mut known)? {
            End::Closed(counts) => counts,
            end => return Err(format!("a life that nobody killed ended so: {end:?}")),
        };
        for (phase, operations, readings) in counts {
            if phase == "allocations" {
                continue;
            }
            let disk = (0..operations).map(|nth| format!("{phase}-disk:{nth}"));
            points.extend(disk.map(|label| point(label, after, on_disk)));
            // The clock is the same on both, and the same at work.
            if !on_disk && (after.is_none() || phase == "open") {
                let clock = (0..readings).map(|nth| format!("{phase}-clock:{nth}"));
                points.extend(clock.map(|label| point(label, after, false)));
            }
        }
    }
    Ok(points)
}

impl Cases for Kills {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a scale times a small number"
    )]
    fn count(&self, scale: f64) -> u64 {
        self.points.len() as u64 + (KILLS * scale).ceil() as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let path = match scene.folder() {
            Ok(folder) => folder.join("bot.mp"),
            Err(error) => return Outcome::Violation(error),
        };
        let point = usize::try_from(nth).ok().and_then(|nth| self.points.get(nth));
        let lives = lives(point, &mut scene.rng);
        live_and_judge(&path, &lives, &mut scene.rng).unwrap_or_else(Outcome::Violation)
    }
}

/// A life that is killed at a moment which only the seed knows.
fn random(rng: &mut Rng) -> Life {
    let mut life = Life::new(rng.next_u64(), rng.one_in(4));
    life.acts = WITHOUT_END;
    let moment = Duration::from_micros(rng.below(1_500));
    life.death = match rng.below(12) {
        0 => Death::Newborn(Duration::from_micros(rng.below(12_000))),
        1 => Death::Appears(".creating".to_owned(), moment * 4),
        2 => {
            life.acts = 5;
            Death::Closing(moment)
        }
        // Before its third line it has hardly been opened.
        3..=4 => Death::Line(rng.below(3), moment),
        _ => Death::Line(rng.below(60), moment),
    };
    life
}

/// One to three lives, the last of which ends at the point, if there is one.
fn lives(point: Option<&Point>, rng: &mut Rng) -> Vec<Life> {
    let mut lives: Vec<_> = (0..rng.below(3)).map(|_| random(rng)).collect();
    let Some(point) = point else {
        lives.push(random(rng));
        return lives;
    };
    if point.is_counted() {
        // As it was when they were counted.
        lives.clear();
        lives.extend(point.after.map(|after| Life::new(FIRST, false).paused(after)));
        let last = Life { acts: FEW_ACTS, ..Life::new(SECOND, point.on_disk) };
        lives.push(last.paused(&point.label));
        return lives;
    }
    if point.label.starts_with("appears ") {
        // While creating: there must be nothing yet.
        lives.clear();
    }
    lives.extend(point.after.map(|after| Life::new(rng.next_u64(), false).paused(after)));
    lives.push(Life::new(rng.next_u64(), false).paused(&point.label));
    lives
}

impl Point {
    fn is_counted(&self) -> bool {
        self.label.contains(':')
    }
}

fn live_and_judge(path: &Path, lives: &[Life], rng: &mut Rng) -> Result<Outcome, String> {
    let mut known = Known::default();
    for (nth, life) in lives.iter().enumerate() {
        let mut life = life.clone();
        // A disk of one's own needs a file that is there.
        life.on_disk &= path.exists();
        match tell(path, &life, &mut known)? {
            End::Killed => {}
            // A kill may come a moment too late for a life that is about to end by itself.
            End::Closed(_) if matches!(life.death, Death::Closing(_)) => {}
            End::Closed(_) => {
                let awaited = (&life.death, &life.pause);
                return Ok(Outcome::Violation(format!("{awaited:?} never came")));
            }
            End::Failed(why) => return Ok(Outcome::Violation(why)),
        }
        // A point may need the store as the life before has left it.
        let undisturbed = lives.get(nth + 1).is_some_and(|next| next.pause.is_some());
        if !undisturbed
            && rng.one_in(3)
            && let Err(finding) = judge(path, &mut known, false)
        {
            return Ok(finding.of_a_sound_store("between two lives"));
        }
    }
    Ok(match judge(path, &mut known, true) {
        Ok(()) => Outcome::Same,
        Err(finding) => finding.of_a_sound_store("after the last life"),
    })
}
