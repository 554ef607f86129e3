//! What the daemon itself counts, beside the engine's counters.

/// Totals since the start, except where noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub sessions_opened: u64,
    /// For want of descriptors, or beyond a quota.
    pub sessions_refused: u64,
    pub requests: u64,
    pub requests_refused: u64,
    pub anchors_opened: u64,
    /// Anchors that could not be made for want of descriptors or memory.
    pub anchors_refused: u64,
    /// Connections between two programs that got a pair of their own.
    pub cut_through: u64,
    pub bytes_to_programs: u64,
    pub bytes_from_programs: u64,
    /// Connections that ended because there was not enough memory for all.
    pub resets_for_memory: u64,
    pub turns: u64,
    pub sleeps: u64,
}

impl Metrics {
    /// Names and values in the order of a report.
    pub(crate) fn rows(&self) -> [(&'static str, u64); 12] {
        [
            ("daemon-sessions-opened", self.sessions_opened),
            ("daemon-sessions-refused", self.sessions_refused),
            ("daemon-requests", self.requests),
            ("daemon-requests-refused", self.requests_refused),
            ("daemon-anchors-opened", self.anchors_opened),
            ("daemon-anchors-refused", self.anchors_refused),
            ("daemon-cut-through-opened", self.cut_through),
            ("daemon-bytes-to-programs", self.bytes_to_programs),
            ("daemon-bytes-from-programs", self.bytes_from_programs),
            ("daemon-resets-for-memory", self.resets_for_memory),
            ("daemon-turns", self.turns),
            ("daemon-sleeps", self.sleeps),
        ]
    }
}
