//! Tests to come in the next step.
