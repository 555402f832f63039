-- One text for SQLite and PostgreSQL. @KEY@ stands for the type of an id that is never given twice;
-- all other columns are BIGINT, TEXT, BOOLEAN or DOUBLE PRECISION.
-- Times are milliseconds since 1970-01-01 00:00 UTC. `user` is a reserved word in PostgreSQL (it
-- means the database's own user), so that column is `user_id`. Who writes which table is in
-- src/grants.rs.

CREATE TABLE installation (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL
);

-- 'uid': the highest number ever given to a user. 'address': how often a VM was given an address;
-- whoever gives one changes this row first, so that nobody else can give one meanwhile.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('uid', 0), ('address', 0);

CREATE TABLE tenants (
    id   @KEY@,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO tenants (name) VALUES ('default');

CREATE TABLE users (
    id            @KEY@,
    tenant        BIGINT NOT NULL REFERENCES tenants (id),
    login         TEXT NOT NULL,
    password_hash TEXT,
    uid           BIGINT NOT NULL UNIQUE CHECK (uid BETWEEN 1 AND 4294967294),
    gid           BIGINT NOT NULL CHECK (gid BETWEEN 1 AND 4294967294),
    blocked       BOOLEAN NOT NULL DEFAULT FALSE,
    added_at      BIGINT NOT NULL,
    UNIQUE (tenant, login)
);

CREATE TABLE hosts (
    id      @KEY@,
    name    TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL,
    blocked BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE host_leases (
    host       BIGINT PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    epoch      BIGINT NOT NULL,
    renewed_at BIGINT NOT NULL
);

CREATE TABLE host_status (
    host       BIGINT PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    renewed_at BIGINT NOT NULL,
    state      TEXT NOT NULL,
    usable_cpu DOUBLE PRECISION NOT NULL,
    usable_ram DOUBLE PRECISION NOT NULL,
    version    TEXT NOT NULL,
    problems   TEXT NOT NULL
);

CREATE TABLE osfs (
    id                @KEY@,
    tenant            BIGINT NOT NULL REFERENCES tenants (id),
    name              TEXT NOT NULL,
    memory            BIGINT NOT NULL CHECK (memory > 0),
    user_storage_size BIGINT CHECK (user_storage_size >= 0),
    UNIQUE (tenant, name)
);

CREATE TABLE dis (
    id       @KEY@,
    osf      BIGINT NOT NULL REFERENCES osfs (id),
    version  TEXT NOT NULL,
    file     TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    bytes    BIGINT NOT NULL CHECK (bytes >= 0),
    kind     TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    UNIQUE (osf, version),
    UNIQUE (id, osf)
);

-- The pair (di, osf) must be that of the image, so a tag can never lead to an image of another OSF.
CREATE TABLE di_tags (
    osf   BIGINT NOT NULL,
    name  TEXT NOT NULL,
    di    BIGINT NOT NULL,
    fixed BOOLEAN NOT NULL,
    PRIMARY KEY (osf, name),
    FOREIGN KEY (di, osf) REFERENCES dis (id, osf) ON DELETE CASCADE
);
CREATE INDEX di_tags_di ON di_tags (di, osf);

CREATE TABLE vms (
    id       @KEY@,
    tenant   BIGINT NOT NULL REFERENCES tenants (id),
    name     TEXT NOT NULL,
    user_id  BIGINT NOT NULL REFERENCES users (id),
    osf      BIGINT NOT NULL REFERENCES osfs (id),
    tag      TEXT NOT NULL,
    ip       TEXT NOT NULL UNIQUE,
    blocked  BOOLEAN NOT NULL DEFAULT FALSE,
    added_at BIGINT NOT NULL,
    UNIQUE (tenant, name)
);
CREATE INDEX vms_user ON vms (user_id);
CREATE INDEX vms_osf ON vms (osf);

CREATE TABLE vm_desired (
    vm           BIGINT PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
    power        TEXT NOT NULL CHECK (power IN ('on', 'off')),
    host         BIGINT REFERENCES hosts (id),
    di           BIGINT REFERENCES dis (id),
    run          BIGINT NOT NULL CHECK (run >= 0),
    revision     BIGINT NOT NULL CHECK (revision >= 0),
    expires_soft BIGINT,
    expires_hard BIGINT,
    asked_by     TEXT NOT NULL,
    asked_at     BIGINT NOT NULL
);
CREATE INDEX vm_desired_host ON vm_desired (host);
CREATE INDEX vm_desired_di ON vm_desired (di);

CREATE TABLE vm_observed (
    vm           BIGINT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    host         BIGINT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    run          BIGINT NOT NULL,
    seen         TEXT NOT NULL
                 CHECK (seen IN ('nothing', 'preparing', 'starting', 'running', 'stopping')),
    seen_at      BIGINT NOT NULL,
    waiting_for  TEXT,
    reason_code  TEXT,
    reason_args  TEXT,
    reason_since BIGINT,
    attempts     BIGINT NOT NULL,
    next_try     BIGINT,
    ended_run    BIGINT,
    ended_kind   TEXT CHECK (ended_kind IN ('shut-down', 'crashed')),
    ended_at     BIGINT,
    PRIMARY KEY (vm, host)
);
CREATE INDEX vm_observed_host ON vm_observed (host);

-- An overlay outlives its VM's row until its host has removed it from the disk.
CREATE TABLE overlays (
    vm        BIGINT NOT NULL,
    host      BIGINT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    di        BIGINT NOT NULL REFERENCES dis (id),
    run       BIGINT NOT NULL,
    driver    TEXT NOT NULL,
    bytes     BIGINT NOT NULL,
    copied_at BIGINT,
    PRIMARY KEY (vm, host, di)
);
CREATE INDEX overlays_host ON overlays (host);
CREATE INDEX overlays_di ON overlays (di);

-- A claim outlives its VM's row until its host has released the home.
CREATE TABLE home_claims (
    home TEXT PRIMARY KEY,
    vm   BIGINT NOT NULL,
    host BIGINT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    run  BIGINT NOT NULL
);
CREATE INDEX home_claims_host ON home_claims (host);

CREATE TABLE connections (
    id          @KEY@,
    vm          BIGINT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    run         BIGINT NOT NULL,
    name        TEXT NOT NULL UNIQUE,
    incarnation TEXT NOT NULL,
    client      TEXT NOT NULL,
    user_id     BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    since       BIGINT NOT NULL,
    ended       BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX connections_vm ON connections (vm);
CREATE INDEX connections_user ON connections (user_id);
-- At most one client is attached to a VM.
CREATE UNIQUE INDEX connections_attached ON connections (vm) WHERE NOT ended;

CREATE TABLE connection_requests (
    vm   BIGINT PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('end', 'suspend'))
);

CREATE TABLE operations (
    id        @KEY@,
    host      BIGINT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    kind      TEXT NOT NULL,
    target    TEXT NOT NULL,
    arguments TEXT NOT NULL
);
CREATE INDEX operations_host ON operations (host);

CREATE TABLE operation_status (
    operation    BIGINT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE,
    progress     BIGINT NOT NULL CHECK (progress BETWEEN 0 AND 100),
    result       TEXT,
    reason_code  TEXT,
    reason_args  TEXT,
    reason_since BIGINT
);

CREATE TABLE user_properties (
    owner BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE TABLE host_properties (
    owner BIGINT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE TABLE osf_properties (
    owner BIGINT NOT NULL REFERENCES osfs (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE TABLE di_properties (
    owner BIGINT NOT NULL REFERENCES dis (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE TABLE vm_properties (
    owner BIGINT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key)
);

-- Tenant 0 and host 0 stand for all of them: a setting of the whole cluster.
CREATE TABLE configs (
    key    TEXT NOT NULL,
    tenant BIGINT NOT NULL DEFAULT 0,
    host   BIGINT NOT NULL DEFAULT 0,
    value  TEXT NOT NULL,
    PRIMARY KEY (key, tenant, host)
);

CREATE TABLE ssl_configs (
    key TEXT PRIMARY KEY,
    pem TEXT NOT NULL
);

-- One chain of hashes for each process that writes.
CREATE TABLE audit (
    id           @KEY@,
    writer       TEXT NOT NULL,
    sequence     BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    who          TEXT NOT NULL,
    from_address TEXT NOT NULL,
    action       TEXT NOT NULL,
    target       TEXT NOT NULL,
    value_before TEXT,
    value_after  TEXT,
    result       TEXT NOT NULL,
    hash         TEXT NOT NULL,
    UNIQUE (writer, sequence)
);
CREATE TABLE audit_heads (
    writer   TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    hash     TEXT NOT NULL
);
