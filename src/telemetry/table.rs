//! Every metric there is. docs/metrics.md holds the same table and the grammar of the names, and a test compares them.

use super::family::Family;

/// Bounds in thousandths of a millisecond: 0.5 ms to 10 s.
const REQUEST: &[u64] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];
/// 0.1 ms to 2.5 s: one call of a store beside us.
const CALL: &[u64] =
    &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000];
/// 5 ms to 5 minutes: a conversation with a provider.
const ATTEMPT: &[u64] = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
];

macro_rules! metrics {
    ($($constant:ident = $made:expr;)+) => {
        $(pub static $constant: Family = $made;)+
        /// In the order of docs/metrics.md.
        pub static ALL: &[&Family] = &[$(&$constant),+];
    };
}

metrics! {
    REQUESTS_ANSWERED = Family::counter("carillon_requests_answered_total", &["route", "status"],
        "Requests answered, by what was asked and the HTTP status.");
    REQUEST_SECONDS = Family::histogram("carillon_request_duration_seconds", &["route"], REQUEST,
        "Time from a request's head to its answer; for events that is when they are on disk.");
    EVENTS_ACCEPTED = Family::counter("carillon_events_accepted_total", &[],
        "Events stored, each once, by whatever way they came.");
    EVENTS_DEDUPLICATED = Family::counter("carillon_events_deduplicated_total", &[],
        "Events that came again; they were answered like the first time.");
    EVENTS_REFUSED = Family::counter("carillon_events_refused_total", &["code"],
        "Items refused in otherwise accepted batches; refused requests are in carillon_requests_answered_total.");
    EVENTS_DROPPED = Family::counter("carillon_events_dropped_total", &[],
        "Events that a rule of their source leaves out.");
    LOG_POSITION = Family::gauge("carillon_log_position", &[],
        "Where the log ends; on PostgreSQL a position is sequence times 16 plus shard.");
    BACKLOG_ENTRIES = Family::gauge("carillon_backlog_entries", &[],
        "Entries of the log that are not decided yet.");
    BACKLOG_SECONDS = Family::gauge("carillon_backlog_seconds", &[],
        "How long the oldest entry has waited for its decision; 0 where none waits.");
    ENTRIES_PROCESSED = Family::counter("carillon_entries_processed_total", &[],
        "Entries of the log decided and stored.");
    ENTRIES_PARKED = Family::counter("carillon_entries_parked_total", &[],
        "Entries that could not be applied and wait for a person.");
    BATCH_SECONDS = Family::histogram("carillon_batch_duration_seconds", &[], CALL,
        "Time to read, decide and store one batch of entries.");
    DECISIONS_MADE = Family::counter("carillon_decisions_made_total", &["campaign", "verdict", "reason"],
        "What campaigns made of events and timers; reason says why not, by its code.");
    MESSAGES_CREATED = Family::counter("carillon_messages_created_total", &["campaign", "channel"],
        "Messages put into the outbox.");
    MESSAGES_REACHED = Family::counter("carillon_messages_reached_total", &["channel", "status", "reason"],
        "Steps of messages to a state, with its reason; what an exit cancelled is in carillon_decisions_made_total.");
    OUTBOX_MESSAGES = Family::gauge("carillon_outbox_messages", &["channel", "status"],
        "Messages that wait or are under way.");
    OUTBOX_OLDEST_SECONDS = Family::gauge("carillon_outbox_oldest_seconds", &[],
        "How long ago the message was due that has been due longest; 0 where none is.");
    ATTEMPTS_ENDED = Family::counter("carillon_attempts_ended_total", &["channel", "outcome"],
        "Tries to hand a message to a provider.");
    ATTEMPT_SECONDS = Family::histogram("carillon_attempt_duration_seconds", &["channel"], ATTEMPT,
        "Time a provider took for one try.");
    TRANSPORT_STOPPED = Family::gauge("carillon_transport_stopped", &["channel"],
        "1 while a channel's provider cannot be used and its messages wait.");
    SENDING_PAUSED = Family::gauge("carillon_sending_paused", &["scope"],
        "1 for each pause in force: all, or a campaign's key.");
    CAPS_ASKED = Family::counter("carillon_caps_asked_total", &["call", "answer"],
        "Calls of the frequency-cap store.");
    CAPS_SECONDS = Family::histogram("carillon_caps_duration_seconds", &[], CALL,
        "Time of one call of the frequency-cap store.");
    CAPS_STOPPED = Family::gauge("carillon_caps_stopped", &[],
        "1 while the cap store cannot be asked and messages that obey caps wait.");
    SCHEDULE_TIMERS = Family::gauge("carillon_schedule_timers", &[],
        "People whose next instant has come and is not in the log yet.");
    TIMERS_LOGGED = Family::counter("carillon_timers_logged_total", &[],
        "Due instants of people written to the log.");
    DATABASE_STATEMENTS_SECONDS = Family::histogram("carillon_database_statements_seconds", &[], CALL,
        "Time of one write transaction before its commit: what waited, written together.");
    DATABASE_COMMIT_SECONDS = Family::histogram("carillon_database_commit_seconds", &[], CALL,
        "Time of one commit, the sync to disk included.");
    DATABASE_COMMITS_FAILED = Family::counter("carillon_database_commits_failed_total", &[],
        "Write transactions of which nothing was stored; their callers were told.");
    DATABASE_FILE_BYTES = Family::gauge("carillon_database_file_bytes", &[],
        "Size of the database: of the file, or as PostgreSQL counts it.");
    DATABASE_WAL_BYTES = Family::gauge("carillon_database_wal_bytes", &[],
        "Size of SQLite's write-ahead log; none on PostgreSQL.");
    DATABASE_CONNECTIONS = Family::gauge("carillon_database_connections", &["pool", "state"],
        "Connections of this process to the database.");
    LEASE_SHARDS = Family::gauge("carillon_lease_shards", &[],
        "Parts of the log this process works on, of 16 on PostgreSQL and 1 on SQLite.");
    LEASE_PROCESSES = Family::gauge("carillon_lease_processes", &[],
        "Processes that share this database at present.");
    JANITOR_IDS_FORGOTTEN = Family::counter("carillon_ids_forgotten_total", &[],
        "Ids of old events that the janitor removed from the table of repeats.");
    GAUGES_FAILED = Family::counter("carillon_gauges_failed_total", &[],
        "Scrapes at which the database could not be asked: gauges of what is stored are old.");
    BUILD_INFO = Family::gauge("carillon_build_info", &["version", "database"],
        "1, with the version of the program and the kind of its database.");
    PROCESS_CPU_SECONDS = Family::reading("process_cpu_seconds_total", &[],
        "Processor time of this process.");
    PROCESS_RESIDENT_BYTES = Family::gauge("process_resident_memory_bytes", &[],
        "Memory of this process that is in RAM.");
    PROCESS_OPEN_FDS = Family::gauge("process_open_fds", &[],
        "Open files and connections of this process.");
    PROCESS_MAX_FDS = Family::gauge("process_max_fds", &[],
        "Files and connections this process may have open.");
    PROCESS_START_SECONDS = Family::gauge("process_start_time_seconds", &[],
        "When this process started, in seconds since 1970.");
}
