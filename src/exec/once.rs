//! The whole life of a claim in one call.
//!
//! The order of the commits carries the promise, as in a relay: the claim is durable before the call,
//! so a crash in the call is known as doubt, and nothing leaves doubt before the probe has said what
//! became of it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::relay::{Probe, Sent};
use crate::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Key, RequestMatch};
use crate::step::{Claim, Claimed, Doubt};

impl Store {
    /// Makes a call outside at most once on its own, and gives its outcome, of now or of then.
    ///
    /// - The key is new: it is claimed, and `call` is made. When this returns `Ok`, the outcome is
    ///   durable.
    /// - The call was made before: its stored outcome is returned, and `call` is not made.
    /// - The call is in doubt: it may have been made, by a process that was killed or that did not get
    ///   an answer. `probe` asks the receiver. What was applied is stored and returned; what was not
    ///   applied is called now; what is not known stays in doubt.
    ///
    /// `scope`, `key` and `request` are those of [`claim`](Store::claim). Hand the key to the receiver
    /// if it takes one. A kill before the claim is durable leaves nothing, and the call was not made;
    /// from then on until the outcome is durable it leaves the call in doubt, and the next `once` asks
    /// `probe` first. So `call` is made a second time only where `probe` or `call` itself has said
    /// that the first one was not applied.
    ///
    /// Blocks for the time of `call` and `probe`, and for a flush before and after.
    ///
    /// # Example: a payment
    ///
    /// ```
    /// use milepost::{Probe, Sent, Store};
    ///
    /// let store = Store::in_memory()?;
    /// let mut payments = Vec::new(); // the bank's
    /// for _ in 0..2 {
    ///     let receipt = store.once(
    ///         "payments",
    ///         "invoice-117",
    ///         &("DE89 3704", 250_00u64),
    ///         || {
    ///             payments.push("invoice-117");
    ///             Sent::Confirmed("receipt 9".to_owned())
    ///         },
    ///         |_doubt| Probe::Unknown, // Ask the bank by "invoice-117".
    ///     )?;
    ///     assert_eq!(receipt, "receipt 9");
    /// }
    /// assert_eq!(payments.len(), 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InFlight` while this process is at the same call in another place; `InDoubt` if the call may
    /// have been made and the probe does not know, or if it was made for another request; `Aborted`
    /// if the receiver rejected it, or it did not arrive: it was not applied, and the key is free
    /// again. `Conflict` if the key was settled for another request; `SchemaMismatch` if the request
    /// had another shape then; `Invalid` or `LimitExceeded` for an outcome that cannot be stored: the
    /// call is in doubt. All others are those of [`claim`](Store::claim), and of the commits after the
    /// call: the call is then in doubt.
    pub fn once<R: Serialize + DeserializeOwned + 'static>(
        &self,
        scope: &str,
        key: impl Into<Key>,
        request: &(impl Serialize + ?Sized),
        call: impl FnOnce() -> Sent<R>,
        probe: impl FnOnce(&Doubt<R>) -> Probe<R>,
    ) -> Result<R> {
        let key = key.into();
        match self.claim(scope, key.clone(), request)? {
            Claimed::Fresh(claim) => made(claim, call),
            Claimed::InDoubt(doubt) => match asked(doubt, probe)? {
                Some(outcome) => Ok(outcome),
                None => match self.claim(scope, key, request)? {
                    Claimed::Fresh(claim) => made(claim, call),
                    other => known(other),
                },
            },
            other => known(other),
        }
    }
}

/// What is known without a call. Doubt is not: another thread has come in between.
fn known<R>(claimed: Claimed<R>) -> Result<R> {
    match claimed {
        Claimed::Done(outcome) => Ok(outcome),
        Claimed::OtherShape(_) => Err(Error::new(
            ErrorKind::SchemaMismatch,
            "the call was made for a request of a type with another shape: whether it was this \
             request, as an older program wrote it, the store cannot tell. Use `claim`, which gives \
             its outcome. Nothing was written",
        )),
        Claimed::InFlight { .. } | Claimed::Fresh(_) | Claimed::InDoubt(_) => Err(Error::new(
            ErrorKind::InFlight,
            "this process is making this call in another place: ask again when it has ended. The call \
             was not made here",
        )),
    }
}

/// Makes the call and says what became of it. A panic of the call leaves it in doubt.
fn made<R: Serialize + DeserializeOwned + 'static>(
    claim: Claim<R>,
    call: impl FnOnce() -> Sent<R>,
) -> Result<R> {
    match call() {
        Sent::Confirmed(outcome) => {
            claim.complete(&outcome)?;
            Ok(outcome)
        }
        Sent::Rejected(why) => {
            claim.release()?;
            Err(not_applied(&format!("the receiver rejected the call: {why}")))
        }
        Sent::NotSent(why) => {
            claim.release()?;
            Err(not_applied(&format!("the call did not arrive: {why}")))
        }
        Sent::Ambiguous(why) => {
            let error = in_doubt(&why);
            claim.doubt(why)?;
            Err(error)
        }
    }
}

/// The outcome of a call in doubt, if the probe says that it was applied; `None` if it was not, and the
/// key is free again.
fn asked<R: Serialize + DeserializeOwned + 'static>(
    doubt: Doubt<R>,
    probe: impl FnOnce(&Doubt<R>) -> Probe<R>,
) -> Result<Option<R>> {
    if doubt.request() == RequestMatch::Differs {
        return Err(Error::new(
            ErrorKind::InDoubt,
            format!(
                "the call is in doubt for another request ({}): resolve that one first, by \
                 `Store::doubt`, and give each request a key of its own. Nothing was written",
                doubt.why()
            ),
        ));
    }
    match probe(&doubt) {
        Probe::Applied(outcome) => {
            doubt.confirm(&outcome)?;
            Ok(Some(outcome))
        }
        Probe::NotApplied => {
            doubt.release()?;
            Ok(None)
        }
        Probe::Unknown => Err(in_doubt(doubt.why())),
    }
}

fn in_doubt(why: &str) -> Error {
    Error::new(
        ErrorKind::InDoubt,
        format!(
            "the call may have been made ({why}): it is in doubt until a probe or an operator has settled it"
        ),
    )
}

fn not_applied(why: &str) -> Error {
    Error::new(ErrorKind::Aborted, format!("{why}. It was not applied, and the key is free again"))
}
