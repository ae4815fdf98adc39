use milepost::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    sum: u64,
    seen: Vec<u64>,
}
impl Versioned for Counter {
    const NAME: &'static str = "counter";
    const VERSION: u32 = 1;
}

#[test]
fn smoke() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = Store::create(&path).unwrap();
    let mut run = store.run::<Counter>("a").unwrap();
    let t = std::time::Instant::now();
    for n in 0..1000u64 {
        let done = run
            .step(&n.to_string(), n, |tx| {
                tx.state.sum += n;
                if n == 5 {
                    tx.emit("o", &n)?;
                }
                Ok(tx.state.sum)
            })
            .unwrap();
        assert!(done.is_fresh());
    }
    eprintln!("{:?}", t.elapsed() / 1000);
    let done = run.step("5", 1000, |_| -> Result<u64> { panic!() }).unwrap();
    assert_eq!(done, Done::Duplicate(15));
    drop(run);
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(store.was_closed_in_order());
    let run = store.run::<Counter>("a").unwrap();
    assert_eq!(run.state().sum, 499_500);
    eprintln!("{:?}", store.recovery().unwrap());
}
