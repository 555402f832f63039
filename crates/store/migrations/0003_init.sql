-- What process 1 of the VMs of an OSF is.
ALTER TABLE osfs ADD COLUMN init TEXT NOT NULL DEFAULT 'auto' CHECK (init IN ('auto', 'image', 'own'));
