package provider

import "github.com/bellhop-proxy/bellhop/internal/account"

// speaksAs is the type whose error answers are those of another type too.
func speaksAs(providerType string) string {
	if providerType == TypeMicrosoftApp {
		return TypeMicrosoft
	}
	return providerType
}

// What mends most failures of clients that nobody consents to.
const (
	fixSubject   = "Check the account's ID, or its user, against the user's primary address in the Admin console."
	fixDelegated = "Delegate the scopes to the service account's client ID in the Admin console: Security > Access and data control > API controls > Domain-wide delegation."
	fixKey       = "Create a new key for the service account and configure its file as credentials_file."
	fixGranted   = "Have an administrator add the resource's application permissions to the app and grant admin consent to them: Entra admin center, App registrations, the app, API permissions."
)

// microsoftAppRows: client credentials. What is not here is sorted as for any
// client of Microsoft's.
var microsoftAppRows = []row{
	{
		provider: TypeMicrosoftApp, number: 500011, code: "invalid_resource", meaning: account.AudienceRefused,
		says:  "The resource principal named https://graph.microsoft.example was not found in the tenant named Contoso. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
		reads: "The tenant does not know the resource.", mend: "Check scopes in the configuration, and that the resource's own app is installed in the tenant.",
		source: entraCodes + "; rootinc/laravel-azure-middleware#51",
	},
	{
		provider: TypeMicrosoftApp, number: 1002012, code: "invalid_scope", meaning: account.AudienceRefused,
		says:  "The provided value for scope User.Read is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
		reads: "Client credentials take <resource>/.default and no other scope.", mend: "Check scopes in the configuration.",
		source: "MicrosoftDocs/azure-docs#99862",
	},
	{
		provider: TypeMicrosoftApp, number: 501051, meaning: account.AudienceRefused,
		says:  "Application '11111111-1111-1111-1111-111111111111'(Acme Mail) is not assigned to a role for the application 'https://graph.microsoft.example'(Acme API).",
		reads: "The app is not assigned to a role of the resource, which wants that.", mend: fixGranted,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoftApp, number: 53003, meaning: account.AudienceRefused,
		says:  "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
		reads: "A Conditional Access policy for workload identities refuses this app.", mend: "Have the organisation's administrator allow the app, or the address that this server calls from.",
		source: entraCodes,
	},
}

// serviceAccountRows: Google tells the cases of a JWT bearer grant (RFC 7523)
// apart by description. What is wrong with the assertion is nobody's account's;
// an invalid_grant that does not stand here ends nothing.
var serviceAccountRows = []row{
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Invalid email or User ID", meaning: account.GrantDead,
		reads: "Google knows no such user.", mend: fixSubject,
		source: unconfirmed,
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Not a valid email.", meaning: account.GrantDead,
		reads: "Google knows no such user.", mend: fixSubject,
		source: googleJWTErrors + "; googleapis/google-api-php-client#783",
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Not a valid email or user ID.", meaning: account.GrantDead,
		reads: "Google knows no such user.", mend: fixSubject,
		source: unconfirmed,
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "The account has been deleted", meaning: account.GrantDead,
		reads: "The user was deleted a short while ago.", mend: "Restore the user in the Admin console, or remove the account.",
		source: "GAM-team/GAM#1171",
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Account has been deleted", meaning: account.GrantDead,
		reads: "The user was deleted.", mend: "Restore the user in the Admin console, or remove the account.",
		source: "FlowCrypt/flowcrypt-browser#2269",
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_request", exact: true, says: "Invalid impersonation &quot;sub&quot; field", meaning: account.GrantDead,
		reads: "Google knows no such user, or it is none of a Google Workspace.", mend: fixSubject,
		source: "GAM-team/GAM#1171",
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Invalid JWT Signature.", meaning: account.ClientMisconfigured,
		reads: "Google does not accept the signature: the service account's key was deleted, disabled or has expired, or is another one's.", mend: fixKey,
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, meaning: account.ClientMisconfigured,
		says:  "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
		reads: "This server's clock is wrong by more than Google allows.", mend: "Set the clock by NTP (timedatectl set-ntp true).",
		source: "websightgmbh/l5-google-cloud-storage#6",
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, meaning: account.ClientMisconfigured,
		says:  "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your 'iat' and 'exp' values and use a clock with skew to account for clock differences between systems.",
		reads: "This server's clock is wrong by more than Google allows.", mend: "Set the clock by NTP (timedatectl set-ntp true).",
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Invalid grant: account not found", meaning: account.ClientMisconfigured,
		reads: "The service account was deleted or is disabled.", mend: "Restore it in the Google Cloud console under IAM & Admin > Service accounts, or configure another one's key.",
		source: "googleapis/google-cloud-php#3622",
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_grant", exact: true, says: "Robot is disabled.", meaning: account.ClientMisconfigured,
		reads: "The service account is disabled.", mend: "Enable it in the Google Cloud console under IAM & Admin > Service accounts.",
		source: "googleapis/google-api-ruby-client#720",
	},
	{
		provider: TypeGoogleServiceAccount, code: "unauthorized_client", meaning: account.ClientMisconfigured,
		says:  "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
		reads: "The service account may not act for users with these scopes.", mend: fixDelegated,
		source: googleJWTErrors + "; googleapis/google-api-php-client#2214",
	},
	{
		provider: TypeGoogleServiceAccount, code: "access_denied", says: "Requested client not authorized.", meaning: account.ClientMisconfigured,
		reads: "The service account may not act for users with these scopes.", mend: fixDelegated,
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "deleted_client", says: "The OAuth client was deleted.", meaning: account.ClientMisconfigured,
		reads: "The service account's client was deleted.", mend: fixKey,
		source: googleJWTErrors + "; websightgmbh/l5-google-cloud-storage#6",
	},
	{
		provider: TypeGoogleServiceAccount, code: "disabled_client", says: "The OAuth client was disabled.", meaning: account.ClientMisconfigured,
		reads: "The service account's key is disabled.", mend: "Enable the key in the Google Cloud console, or configure another one.",
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "org_internal", says: "This client is restricted to users within its organization.", meaning: account.AudienceRefused,
		reads: "The service account's project is for users of its own organisation only.", mend: "Use a service account of a project of the users' organisation.",
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "admin_policy_enforced", meaning: account.AudienceRefused,
		reads: "The organisation's administrator does not let this client have these scopes.", mend: "Ask the organisation's administrator to allow the client.",
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "invalid_scope", says: "Invalid OAuth scope or ID token audience provided.", meaning: account.AudienceRefused,
		reads: "A scope does not exist.", mend: "Check scopes in the configuration.",
		source: googleJWTErrors,
	},
	{
		provider: TypeGoogleServiceAccount, code: "rate_limit_exceeded", meaning: account.Throttled,
		reads: "Google saw too many requests.", mend: nothingToDo,
		source: googleRateLimits,
	},
	{
		provider: TypeGoogleServiceAccount, code: "internal_failure", says: "Backend Error", meaning: account.ProviderDown,
		reads: "Google reported an error of its own.", mend: nothingToDo,
		source: "yasyf/vc#187",
	},
}
