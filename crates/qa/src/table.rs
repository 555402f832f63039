//! Tables as `qa` has always printed them: a rule below the header, bars between columns.

use comfy_table::{
    CellAlignment, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle,
};

/// A column: its title, and whether it holds numbers.
pub(crate) type Column = (&'static str, bool);

/// Text for the left of its cell.
pub(crate) const fn text(title: &'static str) -> Column {
    (title, false)
}

/// Numbers for the right of their cell.
pub(crate) const fn number(title: &'static str) -> Column {
    (title, true)
}

/// The rows as text, without a line feed at the end. Without `header`, no titles and no rule.
pub(crate) fn render(columns: &[Column], rows: &[Vec<String>], header: bool) -> String {
    let mut table = Table::new();
    let bars = ContentLineStyle::none().junction('|');
    let style = TableStyle::new().header_lines(bars).content_lines(bars);
    table.load_style(style.header_separator(LineStyle::none().fill('-').junction('+')));
    table.set_content_arrangement(ContentArrangement::Disabled);
    if header {
        table.set_header(columns.iter().map(|(title, _)| *title));
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (at, (_, numbers)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((u16::from(at > 0), 1));
            if *numbers {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A value, or a dash for none.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Yes or no.
pub(crate) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// A moment in the local time zone, or a dash.
pub(crate) fn moment(millis: Option<i64>) -> String {
    let zone = jiff::tz::TimeZone::system();
    or_dash(
        millis
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .map(|at| at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()),
    )
}

/// Control characters could move the cursor and forge a row.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn some_rows() -> Vec<Vec<String>> {
        vec![vec!["7".into(), "ada".into()], vec!["12".into(), "bob\n\u{1b}[2J".into()]]
    }

    #[test]
    fn a_rule_below_the_header_and_bars_between() {
        expect![[r"
            Id | Login
            ---+----------
             7 | ada
            12 | bob??[2J"]]
        .assert_eq(&render(&[number("Id"), text("Login")], &some_rows(), true));
    }

    #[test]
    fn rows_alone_for_scripts() {
        expect![[r"
             7 | ada
            12 | bob??[2J"]]
        .assert_eq(&render(&[number("Id"), text("Login")], &some_rows(), false));
    }
}
