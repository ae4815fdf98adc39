use super::*;
use crate::record::Payload;

fn outcome(value: u8) -> Typed {
    Typed { schema: 1, payload: Payload::of(&value).unwrap() }
}

fn done() -> KeyState {
    KeyState::Done { outcome: outcome(1) }
}

#[test]
fn an_illegal_pair_is_told_by_both_names() {
    let lost = || KeyState::Lost { quarantine: 1 };
    let told = |event| next(lost(), event).unwrap_err().to_string();
    let doubt = told(Event::Doubt { why: String::new() });
    assert!(doubt.contains("is damaged cannot take `doubt`"));
    assert!(told(Event::Abandon).contains("`abandon`"));
}

#[test]
fn what_is_done_stays_done_whatever_comes_after() {
    for event in [
        Event::Complete { outcome: outcome(2) },
        Event::Release,
        Event::Doubt { why: String::new() },
        Event::Abandon,
    ] {
        assert!(next(done(), event.clone()).is_err(), "{event:?}");
    }
}

#[test]
fn a_damaged_claim_is_left_only_by_what_a_person_found_out() {
    let lost = || KeyState::Lost { quarantine: 1 };
    assert_eq!(next(lost(), Event::Complete { outcome: outcome(1) }).unwrap(), Some(done()));
    assert_eq!(next(lost(), Event::Release).unwrap(), None);
    assert!(next(lost(), Event::Abandon).is_err());
    assert!(next(lost(), Event::Doubt { why: String::new() }).is_err());
}

#[test]
fn an_abandoned_claim_is_in_doubt_and_not_free() {
    let after = next(KeyState::InFlight, Event::Abandon).unwrap();
    assert!(matches!(after, Some(KeyState::InDoubt { .. })));
    // Recovering twice is recovering once.
    assert_eq!(next(after.clone().unwrap(), Event::Abandon).unwrap(), after);
}

#[test]
fn doubt_is_left_only_by_an_answer() {
    let doubt = || KeyState::InDoubt { why: "timeout".into() };
    assert_eq!(next(doubt(), Event::Release).unwrap(), None);
    assert_eq!(next(doubt(), Event::Complete { outcome: outcome(1) }).unwrap(), Some(done()));
}

#[test]
fn no_scope_with_its_key_reads_like_another() {
    let scope = |name: &str| Scope::new(name).unwrap();
    assert_ne!(open_claim_key(&scope("ab"), b"c"), open_claim_key(&scope("a"), b"bc"));
    let row = open_claim_key(&scope("ab"), b"c");
    assert_eq!(claim_of_key(&row), Some((scope("ab"), b"c".as_slice())));
    assert!(row.starts_with(OPEN_CLAIMS));
    let run = RunName::new("ab").unwrap();
    assert_ne!(step_key(&run, b"c"), settled_claim_key(&scope("ab"), b"c"));
}

#[test]
fn a_key_is_due_when_its_tick_is_over() {
    let row = expiry_key(Timestamp::from_ms(1_001), CommitSeq::new(9));
    assert_eq!(expiry_due(&row), Some(Timestamp::from_ms(1_100)));
}

#[test]
fn a_key_asked_for_before_the_horizon_is_beyond_it() {
    let key = Key::new("k").expires_after(Duration::from_secs(10));
    let horizon = Timestamp::from_ms(20_000);
    assert!(!key.clone().is_beyond(horizon), "a key without its time is judged by now");
    assert!(key.clone().issued_at(Timestamp::from_ms(10_000)).is_beyond(horizon));
    assert!(!key.issued_at(Timestamp::from_ms(10_001)).is_beyond(horizon));
}
