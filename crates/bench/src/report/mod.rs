//! The result: a table for people, JSON for programs, a picture for the README.

pub mod svg;
pub mod table;

use crate::{machine::Machine, sample::Row};
use serde::Serialize;
use serde_json::{Value, json};

/// Everything one run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: u32,
    pub seconds: f64,
    /// What moved the bulk: `iperf3`, or our own peers.
    pub bulk_program: String,
    pub rows: Vec<Row>,
    /// CPU time of the daemon with nothing to do, in parts of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<f64>,
}

impl Report {
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        for (row, json) in self.rows.iter().zip(value["rows"].as_array_mut().into_iter().flatten())
        {
            json["ratio"] = json!(row.ratio());
        }
        Ok(value)
    }
}
