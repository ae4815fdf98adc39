//! The report for people: what happened, in words, and then the figures side by side.

use comfy_table::{CellAlignment, Table, presets};

use crate::exchange::Row;
use crate::plan::{Kill, ROTATION};
use crate::report::{self, Verdict};
use crate::strategy::Fill;
use crate::supervisor::Played;

pub(crate) fn render(
    verdict: &Verdict,
    calm: &Played,
    killed: &Played,
) -> serde_json::Result<String> {
    let words = words(verdict, killed);
    let figures = figures(verdict, calm, killed)?;
    Ok(format!("{words}\n{figures}\n{}", kills(killed)))
}

fn words(verdict: &Verdict, killed: &Played) -> String {
    let Verdict { engine, bars, kills, intents, duplicates, lost, .. } = verdict;
    let opening = format!("{engine}: killed {kills} times while it traded {bars} bars.");
    if verdict.holds() {
        return format!(
            "{opening}\nEach of its {intents} orders was filled exactly once, and its final state \
             is the undisturbed run's, byte for byte."
        );
    }
    let state = if verdict.final_state_matches { "is" } else { "is not" };
    format!(
        "{opening}\n{duplicates} orders were filled again, {lost} were lost; its final state \
         {state} the undisturbed run's.\nIts books say it holds {} shares; the exchange says {}.",
        killed.strategy.shares,
        shares_at_exchange(&killed.fills()),
    )
}

fn figures(verdict: &Verdict, calm: &Played, killed: &Played) -> serde_json::Result<Table> {
    let mut table = table(["", "undisturbed", "killed"]);
    let mut row = |what: &str, calm: String, killed: String| {
        table.add_row([what.to_owned(), calm, killed]);
    };
    let mut both = |what: &str, figure: &dyn Fn(&Played) -> String| {
        row(what, figure(calm), figure(killed));
    };
    both("kills", &|run| run.kills.len().to_string());
    both("orders decided", &|run| run.intents.to_string());
    both("fills at the exchange", &|run| run.fills().len().to_string());
    both("requests it lost", &|run| count(run, |row| matches!(row, Row::LostRequest { .. })));
    both("replies it lost", &|run| count(run, |row| matches!(row, Row::LostReply { .. })));
    both("in doubt, settled by probe", &|run| report::settled_by_probe(&run.ledger).to_string());
    both("shares held, by the books", &|run| run.strategy.shares.to_string());
    both("shares held, at the exchange", &|run| shares_at_exchange(&run.fills()).to_string());
    row("duplicates", "0".to_owned(), verdict.duplicates.to_string());
    row("lost", "0".to_owned(), verdict.lost.to_string());
    row("digest", short(&report::digest(calm)?), short(&verdict.digest));
    Ok(table)
}

/// Where the kills fell, as planned.
fn kills(killed: &Played) -> Table {
    let mut table = table(["killed", "times"]);
    let mut row = |place: String, here: &dyn Fn(&Kill) -> bool| {
        table.add_row([place, killed.kills.iter().filter(|kill| here(kill)).count().to_string()]);
    };
    for of in ROTATION {
        let here = |kill: &Kill| matches!(kill, Kill::Held { window, .. } if *window == of);
        row(format!("in the window {}", of.name()), &here);
    }
    row("at a random instant".to_owned(), &|kill| matches!(kill, Kill::Random { .. }));
    row("at a random instant of a start".to_owned(), &|kill| matches!(kill, Kill::Newborn { .. }));
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn shares_at_exchange(fills: &[Fill]) -> i64 {
    fills.iter().map(Fill::signed_shares).sum()
}

fn count(run: &Played, wanted: impl Fn(&Row) -> bool) -> String {
    run.ledger.iter().filter(|row| wanted(row)).count().to_string()
}

fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}
