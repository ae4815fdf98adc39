//! The market: daily bars of the S&P 500, compiled into the program so that it runs from any
//! folder. Prices are integer cents: what is compared byte by byte at the end must not round.

const CSV: &str = include_str!("../data/sp500-daily-2000-2020.csv");

/// One trading day.
pub(crate) struct Bar {
    /// 0-based place in the input; the run's position after this bar.
    pub(crate) index: u64,
    /// `2000-01-03`; names the bar, so it is the step's idempotency key.
    pub(crate) date: &'static str,
    pub(crate) close_cents: i64,
}

/// The first `limit` bars, or all of them.
pub(crate) fn bars(limit: Option<usize>) -> Result<Vec<Bar>, String> {
    let all: Vec<Bar> = (0u64..).zip(CSV.lines().skip(1)).map(parse).collect::<Result<_, _>>()?;
    let wanted = limit.unwrap_or(all.len());
    if wanted == 0 || wanted > all.len() {
        return Err(format!("--bars {wanted}: the market data holds 1 to {} bars", all.len()));
    }
    Ok(all.into_iter().take(wanted).collect())
}

fn parse((index, line): (u64, &'static str)) -> Result<Bar, String> {
    let bad = || format!("market data, bar {index}: cannot be read: {line:?}");
    let mut fields = line.split(',');
    let date = fields.next().ok_or_else(bad)?;
    let close_cents = fields.nth(3).and_then(cents).ok_or_else(bad)?;
    Ok(Bar { index, date, close_cents })
}

/// `"1455.219971"` is 145,522 cents: rounded at the third decimal, with no float on the way.
fn cents(price: &str) -> Option<i64> {
    let (whole, decimals) = price.split_once('.')?;
    let mills: i64 = decimals.get(..3)?.parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 100 + (mills + 5) / 10)
}
