//! What a source may do at the door: drop events by pattern, rename them, each counted by rule.
