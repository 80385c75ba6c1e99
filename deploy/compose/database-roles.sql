-- The roles of the database `isoline`: one owns the schema and migrates it, one serves. Run by a superuser; harmless
-- when repeated, and gives the roles the passwords of the environment.
\set ON_ERROR_STOP on
\getenv owner_password DATABASE_OWNER_PASSWORD
\getenv service_password DATABASE_SERVICE_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name)
FROM (VALUES ('isoline_owner'), ('isoline_service')) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE isoline_owner PASSWORD :'owner_password';
ALTER ROLE isoline_service PASSWORD :'service_password';

-- The owner of a database owns its schema `public` too.
ALTER DATABASE isoline OWNER TO isoline_owner;
REVOKE ALL ON DATABASE isoline FROM PUBLIC;
GRANT CONNECT ON DATABASE isoline TO isoline_service;

-- Rows, and nothing else: what is there, and what later migrations make.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO isoline_service;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO isoline_service;
ALTER DEFAULT PRIVILEGES FOR ROLE isoline_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO isoline_service;
ALTER DEFAULT PRIVILEGES FOR ROLE isoline_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO isoline_service;
