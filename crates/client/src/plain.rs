//! Words of a server, before a person's terminal sees them.

/// The text on one line, without anything that could drive a terminal.
pub(crate) fn plain(text: &str) -> String {
    let without: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| printable(*c))
        .collect();
    without.trim().to_owned()
}

/// Neither a control character nor one that turns the direction of what follows.
fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_drives_a_terminal() {
        assert_eq!(
            plain("caf\u{e9} \u{1b}[2Jx\u{9b}1m\r\ny\u{202e}z\u{7}\n"),
            "caf\u{e9} [2Jx1m  yz"
        );
    }
}
