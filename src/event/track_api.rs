//! The track API: Segment-compatible JSON becomes events.
