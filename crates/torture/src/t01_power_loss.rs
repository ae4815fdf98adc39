//! T1: the power goes, at every operation of eight workloads in three modes, and of what was not
//! flushed any subset is left.

use milepost::testing::{Image, Rng, Trace};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::{Judge, Story, in_time, tell_all};

pub(crate) struct PowerLoss;

impl Class for PowerLoss {
    fn id(&self) -> &'static str {
        "T1"
    }

    fn about(&self) -> &'static str {
        "power loss: unflushed writes lost, a subset, reordered"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Stories(tell_all(setting.seed)?)))
    }
}

struct Stories(Vec<Story>);

impl Cases for Stories {
    fn count(&self, scale: f64) -> u64 {
        scaled(50_000, scale)
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let Some((story, point)) = place(&self.0, nth) else {
            return Outcome::Violation("there is no story".to_owned());
        };
        let image = draw(&story.trace, point, &mut scene.rng);
        in_time(|| {
            let judge = Judge::new(story, story.allowed(point));
            judge.after_power_cut(story.trace.cut(point, &image))
        })
    }
}

/// So many cases at this scale.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of cases, far below the limits"
)]
pub(crate) fn scaled(floor: u32, scale: f64) -> u64 {
    (f64::from(floor) * scale) as u64
}

/// Takes the stories in turn, and of each story every point before any a second time, so that a few
/// cases are from all of it.
pub(crate) fn place(stories: &[Story], nth: u64) -> Option<(&Story, usize)> {
    let count = stories.len().max(1) as u64;
    let story = stories.get(usize::try_from(nth % count).ok()?)?;
    Some((story, spread(nth / count, story.trace.points())))
}

/// The nth of so many places: each of them once before any a second time, neighbours far apart.
pub(crate) fn spread(nth: u64, places: usize) -> usize {
    // A prime that is larger than any number of places meets them all.
    let nth = nth.wrapping_mul(0x7fff_ffff) % (places as u64).max(1);
    usize::try_from(nth).unwrap_or(0)
}

/// An image at this point: mostly one of those that have a name, at times any at all.
pub(crate) fn draw(trace: &Trace, point: usize, rng: &mut Rng) -> Image {
    if rng.one_in(4) {
        return Image::Random { seed: rng.next_u64() };
    }
    let every = Image::every(trace.unsynced(point));
    let nth = usize::try_from(rng.below(every.len() as u64)).unwrap_or(0);
    every.get(nth).copied().unwrap_or(Image::Nothing)
}
