//! Carillon: something happened ([`event`]) to someone ([`audience`]); we decide ([`decision`]) what to say
//! ([`message`]), whether we may ([`guard`]), how it reads ([`render`]); it is carried ([`channel`]), and what comes
//! back happens too.

// The pure half: no I/O, no clock, no chance.
pub mod ids;
pub mod money;
pub mod event;
pub mod audience;
pub mod message;
pub mod decision;
pub mod guard;
pub mod render;
pub mod definition;
pub mod story;

// The shell: loads, calls the pure half, does what it says.
pub mod clock;
pub mod fault;
pub mod telemetry;
pub mod channel;
pub mod store;
pub mod eventlog;
pub mod caps;
pub mod worker;
pub mod intake;
pub mod demo;
pub mod http;
pub mod config;
pub mod app;
pub mod cli;
