-- The roles of the database `isoline`: one owns the schema and migrates it, the others log in and may do nothing yet;
-- `isoline db grant` gives them what they need. Run by a superuser; harmless when repeated, and gives the roles the
-- passwords of the environment.
\set ON_ERROR_STOP on
\getenv owner_password DATABASE_OWNER_PASSWORD
\getenv gateway_password DATABASE_GATEWAY_PASSWORD
\getenv processor_password DATABASE_PROCESSOR_PASSWORD
\getenv operator_password DATABASE_OPERATOR_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name)
FROM (VALUES ('isoline_owner'), ('isoline_gateway'), ('isoline_processor'), ('isoline_operator')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE isoline_owner PASSWORD :'owner_password';
ALTER ROLE isoline_gateway PASSWORD :'gateway_password';
ALTER ROLE isoline_processor PASSWORD :'processor_password';
ALTER ROLE isoline_operator PASSWORD :'operator_password';

-- The owner of a database owns its schema `public` too.
ALTER DATABASE isoline OWNER TO isoline_owner;
REVOKE ALL ON DATABASE isoline FROM PUBLIC;
