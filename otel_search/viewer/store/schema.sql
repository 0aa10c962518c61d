-- What the viewer keeps. Times are nanoseconds since the epoch, durations nanoseconds.
-- Pages ask the tables of minutes and buckets, which do not grow with the traffic, and then single
-- rows by index. Ids grow in the order of arrival, so the oldest of everything is its lowest ids.

CREATE TABLE resources (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    instance TEXT NOT NULL,
    attributes TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL                -- when it sent something
);

CREATE TABLE traces (
    id INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL UNIQUE,
    start INTEGER NOT NULL,
    finish INTEGER NOT NULL,
    duration INTEGER NOT NULL,           -- of the root span; until that is there, from start to finish
    root INTEGER NOT NULL DEFAULT 0,     -- 2: the root span has told the next six, 1: a server span
    name TEXT NOT NULL DEFAULT '',
    service TEXT NOT NULL DEFAULT '',
    method TEXT NOT NULL DEFAULT '',
    route TEXT NOT NULL DEFAULT '',
    status INTEGER,
    error INTEGER NOT NULL DEFAULT 0,    -- the root span's, as the caller saw it
    spans INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,   -- spans with the status ERROR
    finding TEXT NOT NULL DEFAULT ''     -- the worst outcome of its Elasticsearch calls; empty for good ones
);
CREATE INDEX traces_by_start ON traces (start);
CREATE INDEX traces_by_duration ON traces (duration);
CREATE INDEX traces_by_route ON traces (route, start);
CREATE INDEX traces_by_service ON traces (service, start);
CREATE INDEX traces_by_status ON traces (status, start);
CREATE INDEX traces_by_finding ON traces (finding, start) WHERE finding != '';
CREATE INDEX traces_with_findings ON traces (start) WHERE finding != '';
CREATE INDEX traces_with_errors ON traces (start) WHERE errors > 0;

CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    trace INTEGER NOT NULL,              -- traces.id
    span_id TEXT NOT NULL,
    parent_span_id TEXT NOT NULL,
    resource INTEGER NOT NULL,           -- resources.id
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_message TEXT NOT NULL,
    attributes TEXT NOT NULL,            -- this and the next two: JSON
    events TEXT NOT NULL,
    links TEXT NOT NULL
);
CREATE UNIQUE INDEX spans_by_trace ON spans (trace, span_id);
CREATE INDEX spans_across_services ON spans (start) WHERE kind IN ('SERVER', 'CONSUMER') AND parent_span_id != '';

CREATE VIRTUAL TABLE span_words USING fts5 (
    name, status_message, attributes, events,
    content = 'spans', content_rowid = 'id', detail = 'none', tokenize = "unicode61 remove_diacritics 2"
);

-- Elasticsearch calls by their shape.
CREATE TABLE shapes (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    service TEXT NOT NULL,
    operation TEXT NOT NULL,
    collection TEXT NOT NULL,
    query_type TEXT NOT NULL,
    query TEXT NOT NULL,
    UNIQUE (hash, service, operation, collection)
);
CREATE TABLE calls (
    span INTEGER PRIMARY KEY,            -- spans.id
    trace INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    start INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    took REAL,                           -- seconds, as Elasticsearch says
    hits INTEGER,
    outcome TEXT NOT NULL
);
CREATE INDEX calls_by_shape ON calls (shape, start);
CREATE INDEX calls_by_duration ON calls (shape, duration);
CREATE INDEX calls_by_outcome ON calls (shape, outcome, start);
CREATE TABLE shape_minutes (
    minute INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    count INTEGER NOT NULL,
    took REAL NOT NULL,
    tooks INTEGER NOT NULL,              -- how many calls had a took
    searches INTEGER NOT NULL,           -- how many calls were searches
    empty INTEGER NOT NULL,
    partial INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    PRIMARY KEY (minute, shape)
) WITHOUT ROWID;
CREATE TABLE shape_durations (
    minute INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, shape, bucket)
) WITHOUT ROWID;

-- Requests by service and route, in slots of `step` seconds.
CREATE TABLE requests (
    step INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    service TEXT NOT NULL,
    route TEXT NOT NULL,
    error INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (step, slot, service, route, error, bucket)
) WITHOUT ROWID;

-- Who calls whom: client spans by the peer that they name.
CREATE TABLE edges (
    minute INTEGER NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    error INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (minute, source, target, kind, error, bucket)
) WITHOUT ROWID;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    resource INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    level TEXT NOT NULL,
    logger TEXT NOT NULL,
    body TEXT NOT NULL,
    attributes TEXT NOT NULL
);
CREATE INDEX logs_by_trace ON logs (trace_id) WHERE trace_id != '';
CREATE INDEX logs_by_logger ON logs (logger, id);
CREATE INDEX logs_of_warnings ON logs (id) WHERE severity >= 13;
CREATE INDEX logs_of_errors ON logs (id) WHERE severity >= 17;

CREATE VIRTUAL TABLE log_words USING fts5 (
    body, attributes,
    content = 'logs', content_rowid = 'id', detail = 'none', tokenize = "unicode61 remove_diacritics 2"
);

CREATE TABLE metrics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    temporality TEXT NOT NULL,
    monotonic INTEGER NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (name, kind, unit, temporality, monotonic)
);
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    metric INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    scope TEXT NOT NULL,
    attributes TEXT NOT NULL,
    last INTEGER NOT NULL,               -- when its newest point was made
    UNIQUE (metric, resource, scope, attributes)
);
CREATE TABLE points (
    series INTEGER NOT NULL,
    time INTEGER NOT NULL,
    until INTEGER NOT NULL,              -- the newest export with the same numbers
    start INTEGER NOT NULL,
    value REAL NOT NULL,                 -- of a histogram its sum
    count INTEGER NOT NULL,
    bounds TEXT NOT NULL,                -- this and the next: JSON
    buckets TEXT NOT NULL,
    PRIMARY KEY (series, time)
) WITHOUT ROWID;
CREATE INDEX points_by_time ON points (until);
CREATE TABLE exemplars (
    series INTEGER NOT NULL,
    time INTEGER NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (series, time, trace_id, span_id)
) WITHOUT ROWID;
CREATE INDEX exemplars_by_time ON exemplars (time);
