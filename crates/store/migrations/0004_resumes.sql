-- By which name the client of a connection came back, until it has used its new one.
ALTER TABLE connections ADD COLUMN resumes TEXT;
