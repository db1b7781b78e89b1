-- The role and the database, as psql runs it. Nobody's arguments or environment
-- hold the password. Bellhop makes its schema when it first starts.
\set password `cat /run/secrets/database-password`
CREATE ROLE bellhop LOGIN PASSWORD :'password';
CREATE DATABASE bellhop OWNER bellhop ENCODING 'UTF8' TEMPLATE template0;
