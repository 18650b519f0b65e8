//! Carillon: something happened ([`event`]) to someone ([`audience`]); we decide ([`decision`]) what to say
//! ([`message`]), whether we may ([`guard`]), how it reads ([`render`]); it is carried (`channel`), and what comes back
//! happens too.

// The pure half: no I/O, no clock, no chance.
pub mod audience;
pub mod decision;
pub mod definition;
pub mod event;
pub mod guard;
pub mod ids;
pub mod message;
pub mod money;
pub mod render;
pub mod story;

// The shell: loads, calls the pure half, does what it says.
pub mod clock;
pub mod eventlog;
pub mod fault;
pub mod store;
pub mod telemetry;
