//! Every SQL text of this crate is understood by both databases, and every table has its writers.

use std::{collections::BTreeSet, fs, path::Path};

use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use super::Database;
use crate::{
    Noun,
    database::{Db, read},
    grants,
};

/// The SQL texts of this crate: each is a constant that begins with one of four verbs.
fn texts() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        for rest in source.split(": &str =").skip(1) {
            let Some(text) = rest.trim_start().strip_prefix('"') else { continue };
            let text = &text[..text.find('"').unwrap()];
            if ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|verb| text.starts_with(verb)) {
                texts.push(text.to_owned());
            }
        }
    }
    texts
}

pub(super) async fn every_text_is_understood(Database { store, .. }: Database) {
    let texts = texts();
    assert!(texts.len() > 100, "only {} texts found", texts.len());
    // A few ask for what only one of them has.
    let foreign = match &store.db {
        Db::Sqlite(_) => "pg_",
        Db::Postgres(_) => "sqlite_",
    };
    for text in texts.into_iter().filter(|text| !text.contains(foreign)) {
        let variants: Vec<String> = if text.contains("@TABLE@") {
            Noun::ALL.iter().map(|noun| noun.sql(&text).as_str().to_owned()).collect()
        } else {
            vec![text]
        };
        for text in variants {
            let sql = AssertSqlSafe(text.clone()).into_sql_str();
            let understood = match &store.db {
                Db::Sqlite(pool) => pool.prepare(sql).await.map(drop),
                Db::Postgres(pool) => pool.prepare(sql).await.map(drop),
            };
            understood.unwrap_or_else(|error| panic!("{error}: {text}"));
        }
    }
}

pub(super) async fn every_table_has_its_writers(Database { store, .. }: Database) {
    let sql = match &store.db {
        Db::Sqlite(_) => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Db::Postgres(_) => {
            "SELECT tablename::TEXT FROM pg_tables WHERE schemaname = 'public'"
        }
    };
    let there: Vec<String> =
        read!(store, on => sqlx::query_scalar(sql).fetch_all(on).await).unwrap();
    let named: BTreeSet<String> = grants()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("REVOKE ALL ON ")?.split_once(' ')?.0.to_owned()))
        .collect();
    assert_eq!(named, there.into_iter().collect());
}
