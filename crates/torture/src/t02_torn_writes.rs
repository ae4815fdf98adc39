//! T2: of the writes that were not flushed, some are there in part. The header is cut at every byte,
//! since the storage engine has to live with that; pages are cut at sectors.

use milepost::testing::{Change, HEADER_BYTES, Image, Rng};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::{Judge, Story, in_time, tell_all};
use super::t01_power_loss::{place, scaled};

/// Which end is new, and whether the other writes are there: four ways to cut at one byte.
const CUTS: u64 = 4;

pub(crate) struct TornWrites;

impl Class for TornWrites {
    fn id(&self) -> &'static str {
        "T2"
    }

    fn about(&self) -> &'static str {
        "torn writes: pages cut at sectors, the header at every byte"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let stories = tell_all(setting.seed)?;
        let headers = headers(&stories, &mut Rng::of(setting.seed, "T2 headers", 0));
        if headers.is_empty() {
            return Err("no story writes a header".to_owned());
        }
        Ok(Box::new(Tears { stories, headers }))
    }
}

/// One write of the header in each workload, each in another mode than the one before: which story,
/// and at which point nothing but a flush is missing.
fn headers(stories: &[Story], rng: &mut Rng) -> Vec<(usize, usize)> {
    // The modes follow one another; so do the workloads in each.
    let workloads = stories.len() / 3;
    (0..workloads)
        .filter_map(|workload| {
            let nth = workload + (workload % 3) * workloads;
            let story = stories.get(nth)?;
            let is_header =
                |point: &usize| story.trace.unsynced(*point).last().is_some_and(Change::is_header);
            let points: Vec<usize> = (0..story.trace.points()).filter(is_header).collect();
            let chosen = usize::try_from(rng.below(points.len() as u64)).ok()?;
            points.get(chosen).map(|point| (nth, *point))
        })
        .collect()
}

struct Tears {
    stories: Vec<Story>,
    headers: Vec<(usize, usize)>,
}

impl Tears {
    fn header_cuts(&self) -> u64 {
        self.headers.len() as u64 * HEADER_BYTES as u64 * CUTS
    }

    /// Where the nth cut of a header is.
    fn header_cut(&self, nth: u64) -> Option<(&Story, usize, Image)> {
        let (way, rest) = (nth % CUTS, nth / CUTS);
        let at = usize::try_from(rest).ok()? % HEADER_BYTES;
        let which = usize::try_from(rest).ok()? / HEADER_BYTES;
        let (story, point) = *self.headers.get(which)?;
        let image = Image::HeaderCut { at, is_front_new: way % 2 == 0, with_rest: way / 2 == 0 };
        Some((self.stories.get(story)?, point, image))
    }

    fn tear(&self, nth: u64, rng: &mut Rng) -> Option<(&Story, usize, Image)> {
        let (story, point) = place(&self.stories, nth)?;
        let count = story.trace.unsynced(point).len();
        let count = 1 + usize::try_from(rng.below(count as u64)).ok()?;
        Some((story, point, Image::Torn { count, seed: rng.next_u64() }))
    }
}

impl Cases for Tears {
    fn count(&self, scale: f64) -> u64 {
        self.header_cuts() + scaled(5_000, scale)
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let drawn = match nth.checked_sub(self.header_cuts()) {
            None => self.header_cut(nth),
            Some(nth) => self.tear(nth, &mut scene.rng),
        };
        let Some((story, point, image)) = drawn else {
            return Outcome::Violation("there is no story".to_owned());
        };
        in_time(|| {
            let judge = Judge::new(story, story.allowed(point));
            judge.after_power_cut(story.trace.cut(point, &image))
        })
    }
}
