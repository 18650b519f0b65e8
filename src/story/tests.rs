//! Stories that pass, stories that fail, and what they print.
