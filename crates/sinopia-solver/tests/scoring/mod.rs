//! Scores layouts on gold files, whose rows say what a careful person sees in a caption; shared by the tests and the example `score`.

mod geometry;
pub(crate) mod gold;
mod phrases;
#[path = "../../../sinopia-english/tests/scoring/mod.rs"]
#[expect(clippy::expect_used, reason = "shared with the tests")]
mod readings;
pub(crate) mod report;
mod verdict;
