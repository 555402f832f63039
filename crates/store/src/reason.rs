//! A [`Reason`] in three columns: code, arguments as JSON, and since when.

use std::collections::BTreeMap;

use model::{Reason, Timestamp, reason::Code};

use crate::error::{Error, Result};

/// The three columns; all of them empty when there is no reason.
#[derive(Default, sqlx::FromRow)]
pub(crate) struct ReasonColumns {
    #[sqlx(rename = "reason_code")]
    pub(crate) code: Option<String>,
    #[sqlx(rename = "reason_args")]
    pub(crate) args: Option<String>,
    #[sqlx(rename = "reason_since")]
    pub(crate) since: Option<i64>,
}

impl From<Option<&Reason>> for ReasonColumns {
    fn from(reason: Option<&Reason>) -> Self {
        let Some(reason) = reason else { return Self::default() };
        let args: serde_json::Map<_, _> = reason
            .args
            .iter()
            .map(|(name, value)| (name.clone(), serde_json::Value::from(value.as_str())))
            .collect();
        Self {
            code: Some(reason.code.as_str().to_owned()),
            args: Some(serde_json::Value::Object(args).to_string()),
            since: Some(reason.since.0),
        }
    }
}

impl ReasonColumns {
    pub(crate) fn parse(self, table: &'static str, row: &impl ToString) -> Result<Option<Reason>> {
        let Some(word) = self.code else { return Ok(None) };
        let since = Timestamp(self.since.unwrap_or_default());
        let text = self.args.unwrap_or_else(|| "{}".to_owned());
        let Some(code) = Code::from_word(&word) else {
            // Written by a newer program, while hosts are upgraded one by one.
            let unknown = Reason::new(Code::StepFailed, since).with("step", word);
            return Ok(Some(unknown.with("error", text)));
        };
        let args: BTreeMap<String, String> =
            serde_json::from_str(&text).map_err(|_| Error::row(table, row, "reason_args"))?;
        Ok(Some(Reason { code, args, since }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_reason_comes_back_as_it_was(
            code in 0..Code::ALL.len(),
            args in proptest::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..4),
            since: i64,
        ) {
            let reason = Reason { code: Code::ALL[code], args, since: Timestamp(since) };
            let back = ReasonColumns::from(Some(&reason)).parse("t", &1).unwrap();
            prop_assert_eq!(back, Some(reason));
        }

        #[test]
        fn foreign_columns_never_panic(code in ".{0,12}", args in ".{0,40}", known: bool) {
            let code = if known { "image-missing".to_owned() } else { code };
            let columns = ReasonColumns {
                code: Some(code),
                args: Some(args),
                since: None,
            };
            let _ = columns.parse("t", &1);
        }
    }

    #[test]
    fn a_code_of_a_newer_program_is_shown_as_its_word() {
        let columns = ReasonColumns {
            code: Some("moon-phase".into()),
            args: Some("{}".into()),
            since: Some(5),
        };
        let reason = columns.parse("t", &1).unwrap().unwrap();
        assert_eq!(reason.text(), "moon-phase failed: {}");
    }
}
