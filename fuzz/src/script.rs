//! What the `operations` target does to a store, drawn from the fuzzer's bytes. Numbers are small, so
//! that keys, rows and claims meet again.

use arbitrary::{Arbitrary, Result, Unstructured};

/// A life of a store.
#[derive(Debug, Clone)]
pub struct Script {
    pub two_phase: bool,
    pub instant_reopen: bool,
    pub acts: Vec<Act>,
}

impl<'a> Arbitrary<'a> for Script {
    /// Acts until the bytes are used up: each byte that the fuzzer adds does something.
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut script = Self {
            two_phase: bytes.arbitrary()?,
            instant_reopen: bytes.arbitrary()?,
            acts: vec![],
        };
        while !bytes.is_empty() {
            script.acts.push(bytes.arbitrary()?);
        }
        Ok(script)
    }
}

#[derive(Debug, Clone, Arbitrary)]
pub enum Act {
    Step(u8, StepDraft),
    Batch(u8, Vec<StepDraft>),
    Submit(u8, Vec<StepDraft>),
    Rewind(u8, u8),
    Claim(u8),
    Complete(u8, u8),
    Release(u8),
    Reject(u8),
    Wait(u16),
    /// Calls of the disk begin to fail.
    Fail(FaultDraft),
    /// Ends in order, and is opened again.
    Restart,
    /// Is killed.
    Kill,
    /// The power goes.
    Cut(ImageDraft),
    /// Everything is asked for.
    Check,
}

#[derive(Debug, Clone, Arbitrary)]
pub struct StepDraft {
    /// An old key, if there is one of that number.
    pub repeats: Option<u8>,
    /// How far the position goes on; past 250 it goes back.
    pub advance: u8,
    pub puts: Vec<(u8, u8)>,
    pub removes: Vec<u8>,
    pub emits: u8,
    pub ttl_s: Option<u8>,
    pub weight: Option<u16>,
}

#[derive(Debug, Clone, Arbitrary)]
pub struct FaultDraft {
    pub call: u8,
    pub nth: u8,
    pub effect: u8,
    pub is_once: bool,
}

#[derive(Debug, Clone, Arbitrary)]
pub enum ImageDraft {
    Nothing,
    Everything,
    First(u8),
    Without(u8),
    Only(u8),
    HeaderOnly,
    WithoutHeader,
    ResizesLost,
    HeaderCut { at: u16, is_front_new: bool, with_rest: bool },
    Torn { count: u8, seed: u32 },
    Random { seed: u32 },
}
