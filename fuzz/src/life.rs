//! A store and its model, through a script. The judge remembers what was acknowledged outside both
//! the store and the disk; what failed may have happened or not, and nothing else.

use std::sync::{Arc, OnceLock};

use milepost::testing::{
    Actor, Call, Effect, Fault, Image, Model, Op, Platter, Sabotage, SimDisk, Step,
};
use milepost::{
    Durability, Error, ErrorKind, ManualClock, MemoryDisk, Options, Reopen, Resolution,
    SettledRetention, Timestamp,
};

use crate::script::{Act, FaultDraft, ImageDraft, Script, StepDraft};

const RUNS: u8 = 2;
const ACTS_MAX: usize = 48;
const STEPS_MAX: usize = 6;
const BEGINNING: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// Plays a script to its end.
pub fn play(script: &Script, sabotage: Option<Sabotage>) {
    let mut life = Life::begin(script, sabotage);
    for act in script.acts.iter().take(ACTS_MAX) {
        life.act(act);
    }
    life.end();
}

struct Life {
    options: Options,
    clock: ManualClock,
    disk: Arc<SimDisk>,
    sabotage: Option<Sabotage>,
    /// `None` only while the store is opened anew.
    actor: Option<Actor>,
    model: Model,
    next_key: u64,
}

impl Life {
    fn begin(script: &Script, sabotage: Option<Sabotage>) -> Self {
        let clock = ManualClock::new(BEGINNING);
        let options = Options::new()
            .clock(clock.clone())
            .cache_bytes(1 << 20)
            .durability(if script.two_phase { Durability::TwoPhase } else { Durability::OnePhase })
            .reopen(if script.instant_reopen { Reopen::Instant } else { Reopen::Verified })
            // The model knows every intent.
            .settled_retention(SettledRetention::keep_all());
        let disk = Arc::new(SimDisk::of(created().clone()));
        let store = options.open_on(disk.clone()).unwrap();
        let actor = Some(Actor::new(store, clock.clone()));
        let model = Model::new(BEGINNING);
        let mut life = Self { options, clock, disk, sabotage, actor, model, next_key: 1 };
        life.break_a_promise();
        life
    }

    fn break_a_promise(&mut self) {
        if let Some(sabotage) = self.sabotage {
            self.disk.sabotage(sabotage);
        }
    }

    fn actor(&mut self) -> &mut Actor {
        self.actor.as_mut().expect("the store is open between two acts")
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Step(run, draft) => {
                let step = self.step(*run, draft, &mut None);
                self.perform(&Op::Step(run % RUNS, step));
            }
            Act::Batch(run, drafts) => {
                let steps = self.steps(*run, drafts, true);
                self.perform(&Op::Batch(run % RUNS, steps));
            }
            Act::Submit(run, drafts) => {
                // One that is refused would leave those before it: no answer of all or nothing.
                let steps = self.steps(*run, drafts, false);
                self.perform(&Op::Submit(run % RUNS, steps));
            }
            Act::Rewind(run, to) => self.perform(&Op::Rewind(run % RUNS, u64::from(*to))),
            Act::Claim(key) => self.perform(&Op::Claim(u64::from(*key % 8))),
            Act::Complete(key, outcome) => {
                let op = Op::Complete(u64::from(*key % 8), u64::from(*outcome));
                self.if_known(*key, &op);
            }
            Act::Release(key) => self.if_known(*key, &Op::Release(u64::from(*key % 8))),
            Act::Reject(nth) => self.perform(&Op::Reject(u64::from(*nth))),
            // Far below a day, so that nobody doubts the clock.
            Act::Wait(ms) => self.perform(&Op::Wait(u64::from(*ms))),
            Act::Fail(fault) => self.disk.arm([fault_of(fault)]),
            Act::Restart => self.restart(),
            Act::Kill => self.crash(&Image::Everything),
            Act::Cut(image) => {
                let image = self.image_of(image);
                self.crash(&image);
            }
            Act::Check => self.check(),
        }
    }

    /// To ask for the claim of a key that is not known would claim it.
    fn if_known(&mut self, key: u8, op: &Op) {
        if self.model.claims.contains_key(&u64::from(key % 8)) {
            self.perform(op);
        }
    }

    /// Does it to both, and compares what they say.
    fn perform(&mut self, op: &Op) {
        let before = self.model.clone();
        let expected = self.model.apply(op);
        match self.actor().apply(op) {
            Ok(answer) => assert_eq!(answer, expected, "{op:?}"),
            Err(error) => self.resolve(op, &before, &error),
        }
    }

    /// The disk failed under an operation: it happened or not, and of submitted steps the first so
    /// many did. Which it was has to stay so.
    fn resolve(&mut self, op: &Op, before: &Model, error: &Error) {
        assert!(self.disk.hits() > 0, "an error without a fault: {error}");
        let known = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned];
        let seq = match error.kind() {
            ErrorKind::Uncertain(seq) => Some(seq),
            kind => {
                assert!(known.contains(&kind), "{kind:?} {error}");
                None
            }
        };
        self.reopen(self.disk.live());
        let mut happened = vec![before.clone()];
        match op {
            Op::Submit(run, steps) => happened.extend((1..=steps.len()).map(|count| {
                let mut model = before.clone();
                model.apply(&Op::Submit(*run, steps[..count].to_vec()));
                model
            })),
            _ if seq.is_none() => {}
            _ => happened.push(self.model.clone()),
        }
        if let (Some(seq), false) = (seq, matches!(op, Op::Submit(..)))
            && self.actor().store().resolve(seq).unwrap() == Resolution::NotCommitted
        {
            happened.truncate(1);
        }
        let actor = self.actor.as_mut().expect("it was just opened");
        let found = happened.into_iter().find(|model| {
            let different = actor.check(model, &[]).unwrap();
            different.is_none()
        });
        self.model = found.unwrap_or_else(|| panic!("neither before nor after {op:?}: {error}"));
    }

    fn restart(&mut self) {
        self.disk.arm([]);
        self.actor.take().expect("the store is open between two acts").close().unwrap();
        self.reopen(self.disk.live());
        assert!(self.actor().store().was_closed_in_order());
    }

    /// All was acknowledged, so that whatever a crash leaves has to hold it.
    fn crash(&mut self, image: &Image) {
        self.reopen(self.disk.cut(image));
        assert!(!self.actor().store().was_closed_in_order());
        self.check();
    }

    fn reopen(&mut self, platter: Platter) {
        // Nothing of what the old handle does on its way out reaches the new disk.
        self.actor = None;
        self.disk = Arc::new(SimDisk::of(platter));
        let store = self.options.open_on(self.disk.clone()).unwrap();
        self.actor = Some(Actor::new(store, self.clock.clone()));
        self.break_a_promise();
    }

    fn check(&mut self) {
        self.disk.arm([]);
        let (model, absent) = (self.model.clone(), [self.next_key, self.next_key + 1]);
        let different = self.actor().check(&model, &absent).unwrap();
        assert_eq!(different, None);
    }

    fn end(mut self) {
        self.restart();
        self.check();
        let found = self.actor().store().verify().unwrap();
        assert!(found.is_sound(), "{found:?}");
        // A copy that was never closed opens too.
        let copy = Arc::new(MemoryDisk::from_bytes(self.disk.durable().to_vec()));
        self.options.open_on(copy).unwrap();
    }

    fn steps(&mut self, run: u8, drafts: &[StepDraft], may_go_back: bool) -> Vec<Step> {
        let mut position = None;
        let drafts = drafts.iter().take(STEPS_MAX);
        drafts
            .map(|draft| {
                let draft = StepDraft {
                    advance: if may_go_back { draft.advance } else { draft.advance % 8 },
                    ..draft.clone()
                };
                self.step(run, &draft, &mut position)
            })
            .collect()
    }

    /// `position` is where the step before this one stood, if it is one of many.
    fn step(&mut self, run: u8, draft: &StepDraft, position: &mut Option<u64>) -> Step {
        let known = self.model.runs.get(&(run % RUNS));
        let at = position.or_else(|| known.and_then(|run| run.position)).unwrap_or(0);
        let repeated = draft.repeats.and_then(|nth| {
            let keys = &known?.keys;
            let (key, seen) = keys.iter().nth(usize::from(nth) % keys.len().max(1))?;
            // A key whose time is over may be forgotten, or not yet.
            let is_over = seen.deadline.is_some_and(|deadline| deadline <= self.model.now);
            (!is_over).then_some(*key)
        });
        let key = repeated.unwrap_or_else(|| {
            self.next_key += 1;
            self.next_key - 1
        });
        let to = match draft.advance {
            251.. => at.saturating_sub(1),
            advance => at + u64::from(advance % 4),
        };
        *position = Some(to.max(at));
        let small = |list: &[(u8, u8)]| -> Vec<_> {
            list.iter()
                .take(4)
                .map(|(row, value)| (u64::from(row % 16), u64::from(*value)))
                .collect()
        };
        Step {
            key,
            position: to,
            puts: small(&draft.puts),
            removes: draft.removes.iter().take(4).map(|row| u64::from(row % 16)).collect(),
            emits: (0..u64::from(draft.emits % 3)).map(|nth| key * 10 + nth).collect(),
            // A life of nothing is refused.
            ttl_ms: draft.ttl_s.map(|ttl_s| 1_000 * u64::from(ttl_s.max(1))),
            weight: draft.weight.map(u32::from),
            saves: key % 3 == 0,
        }
    }

    fn image_of(&self, draft: &ImageDraft) -> Image {
        let count = self.disk.unsynced().len().max(1);
        let nth = |n: u8| usize::from(n) % count;
        match *draft {
            ImageDraft::Nothing => Image::Nothing,
            ImageDraft::Everything => Image::Everything,
            ImageDraft::First(n) => Image::First(nth(n)),
            ImageDraft::Without(n) => Image::Without(nth(n)),
            ImageDraft::Only(n) => Image::Only(nth(n)),
            ImageDraft::HeaderOnly => Image::HeaderOnly,
            ImageDraft::WithoutHeader => Image::WithoutHeader,
            ImageDraft::ResizesLost => Image::ResizesLost,
            ImageDraft::HeaderCut { at, is_front_new, with_rest } => {
                Image::HeaderCut { at: usize::from(at % 321), is_front_new, with_rest }
            }
            ImageDraft::Torn { count, seed } => {
                Image::Torn { count: nth(count) + 1, seed: u64::from(seed) }
            }
            ImageDraft::Random { seed } => Image::Random { seed: u64::from(seed) },
        }
    }
}

/// An empty store, made once.
fn created() -> &'static Platter {
    static CREATED: OnceLock<Platter> = OnceLock::new();
    CREATED.get_or_init(|| {
        let disk = Arc::new(SimDisk::new());
        let options = Options::new().clock(ManualClock::new(BEGINNING));
        options.create_on(disk.clone()).unwrap().close().unwrap();
        disk.durable()
    })
}

fn fault_of(draft: &FaultDraft) -> Fault {
    let calls = [Call::Change, Call::Write, Call::Resize, Call::Sync, Call::Read];
    let effects = [Effect::Nothing, Effect::Half, Effect::All];
    let fault = Fault::of(calls[usize::from(draft.call) % calls.len()], u64::from(draft.nth % 64))
        .effect(effects[usize::from(draft.effect) % effects.len()]);
    if draft.is_once { fault.once() } else { fault }
}
