-- Whether programs in the VMs of an OSF may make user name spaces.
ALTER TABLE osfs ADD COLUMN nesting BOOLEAN NOT NULL DEFAULT TRUE;
