-- How an application takes part in OAuth 2 and OpenID Connect: JSON of tenant.OAuth.
ALTER TABLE applications ADD COLUMN oauth TEXT NOT NULL DEFAULT '{}';
