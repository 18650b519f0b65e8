//! Who an event belongs to: the rules that turn a user id and an anonymous id into one profile.
