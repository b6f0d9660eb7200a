-- The roles that services log in as, run by the image when it makes its database. `credits ledger migrate` makes the
-- groups, too, and grants them what they may do; here they are made first, so that they have members. For one machine:
-- the passwords are no secrets.
CREATE ROLE fluxori_ledger;
CREATE ROLE fluxori_reader;
CREATE ROLE fluxori_consumer LOGIN PASSWORD 'fluxori' IN ROLE fluxori_ledger;
CREATE ROLE fluxori_edge LOGIN PASSWORD 'fluxori' IN ROLE fluxori_reader;
