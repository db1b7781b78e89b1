-- Everything stands in a schema of its own and is called by its full name, so
-- that no search_path matters.
DO $$
BEGIN
    -- Whoever finds it made for them need not have the right to make it.
    IF to_regnamespace('bellhop') IS NULL THEN
        CREATE SCHEMA bellhop;
    END IF;
END
$$;

CREATE TABLE bellhop.schema (
    version int NOT NULL
);
INSERT INTO bellhop.schema VALUES (0);

-- Versions of records, fences of leases and the order of changes. A sequence
-- goes back neither when a transaction is undone nor when the server crashes.
CREATE SEQUENCE bellhop.numbers;

-- Keys are ordered by their bytes: UTF-8 in the collation "C".
CREATE TABLE bellhop.records (
    key     text COLLATE "C" PRIMARY KEY,
    value   bytea NOT NULL,
    version bigint NOT NULL
);
-- Values are sealed: they do not compress.
ALTER TABLE bellhop.records ALTER COLUMN value SET STORAGE EXTERNAL;

-- A lease that was released or has ended stays for a while, so that the next
-- one of its key waits for whoever is at the row, and has a higher fence.
CREATE TABLE bellhop.leases (
    key     text COLLATE "C" PRIMARY KEY,
    owner   text NOT NULL,
    fence   bigint NOT NULL,
    expires timestamptz NOT NULL
);

-- One row for each batch that changed something. Who reads takes what has
-- become visible since their last snapshot, see watch.go.
CREATE TABLE bellhop.changes (
    number  bigint PRIMARY KEY,
    txid    xid8 NOT NULL,
    keys    text[] NOT NULL,
    deleted boolean[] NOT NULL
);
CREATE INDEX ON bellhop.changes (txid);

-- commit writes a batch, all or nothing, and returns the new version. It is a
-- function so that a batch is one statement: no node that is stopped half way
-- holds a lock. expect is the version that a record must have, 0 for none, -1
-- for any; a value of NULL deletes.
CREATE FUNCTION bellhop.commit(
    lease_key text, lease_owner text, lease_fence bigint,
    keys text[], vals bytea[], expects bigint[]
) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    differing text;
    next_version bigint;
BEGIN
    -- The lock keeps the lease from being taken over before this is committed.
    IF lease_key IS NOT NULL THEN
        PERFORM FROM bellhop.leases l
            WHERE l.key = lease_key AND l.owner = lease_owner AND l.fence = lease_fence
              AND l.expires > clock_timestamp()
            FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'lease was lost' USING ERRCODE = 'BH001';
        END IF;
    END IF;

    -- Locks every key, in the one order that all batches keep, so that no two
    -- wait for each other. A record that is there is locked and not changed; a
    -- key without one gets a placeholder of version 0, on which others wait.
    INSERT INTO bellhop.records AS r (key, value, version)
        SELECT k, '', 0 FROM unnest(keys) AS k ORDER BY k COLLATE "C"
        ON CONFLICT (key) DO UPDATE SET version = r.version WHERE false;

    -- From here on nobody changes these records; each statement sees what was
    -- committed while the one above waited.
    SELECT w.key INTO differing
        FROM unnest(keys, expects) AS w(key, expect)
        JOIN bellhop.records r ON r.key = w.key
        WHERE w.expect <> -1 AND r.version <> w.expect
        ORDER BY w.key COLLATE "C" LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%', differing USING ERRCODE = 'BH002';
    END IF;

    -- Taken under the locks: it is higher than whatever these keys ever had.
    next_version := nextval('bellhop.numbers');

    -- Deleting what is not there is no change.
    INSERT INTO bellhop.changes (number, txid, keys, deleted)
        SELECT next_version, pg_current_xact_id(),
               array_agg(w.key ORDER BY w.n), array_agg(w.val IS NULL ORDER BY w.n)
        FROM unnest(keys, vals) WITH ORDINALITY AS w(key, val, n)
        JOIN bellhop.records r ON r.key = w.key
        WHERE w.val IS NOT NULL OR r.version <> 0
        HAVING count(*) > 0;

    UPDATE bellhop.records r SET value = w.val, version = next_version
        FROM unnest(keys, vals) AS w(key, val)
        WHERE r.key = w.key AND w.val IS NOT NULL;
    DELETE FROM bellhop.records r
        USING unnest(keys, vals) AS w(key, val)
        WHERE r.key = w.key AND w.val IS NULL;
    RETURN next_version;
END
$$;
