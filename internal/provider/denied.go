package provider

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/bellhop-proxy/bellhop/internal/account"
	"github.com/bellhop-proxy/bellhop/internal/secret"
)

// More documents that rows are of.
const (
	// Google Identity, Using OAuth 2.0 for Web Server Applications, authorization
	// errors, developers.google.com/identity/protocols/oauth2/web-server.
	googleWebServer = "Google OAuth 2.0 for web server applications"
	// Google Identity, OAuth 2.0 for TV and Limited-Input Device Applications,
	// developers.google.com/identity/protocols/oauth2/limited-input-device.
	googleDevices = "Google OAuth 2.0 for devices"
	// Google Cloud Help, Manage App Audience, support.google.com/cloud/answer/15549945.
	googleAudience = "Google app audience"
	// Google Workspace Admin Help, Control which apps access Google Workspace
	// data, support.google.com/a/answer/7281227.
	googleAppAccess = "Google Workspace app access control"
	// Microsoft identity platform and OAuth 2.0 authorization code flow,
	// learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow.
	entraCodeFlow = "Entra authorization code flow"
	// Microsoft identity platform and the OAuth 2.0 device authorization grant
	// flow, learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code.
	entraDeviceFlow = "Entra device authorization grant flow"
	// Admin consent on the Microsoft identity platform,
	// learn.microsoft.com/entra/identity-platform/v2-admin-consent.
	entraAdminConsent = "Entra admin consent"
	// How to add a redirect URI to your application,
	// learn.microsoft.com/entra/identity-platform/how-to-add-redirect-uri.
	entraRedirectURI = "Entra redirect URI"
	// Modify the accounts supported by an application,
	// learn.microsoft.com/entra/identity-platform/howto-modify-supported-accounts.
	entraAccounts = "Entra supported accounts"
)

// The places to click. The consoles' own names stand in the documents above.
const (
	entraApp     = "Microsoft Entra admin center > Entra ID > App registrations > the app"
	googleAuth   = "Google Cloud console > Google Auth Platform"
	adminConsole = "Google Admin console > Security > Access and data control > API controls > Manage app access"
)

// What mends most consents that came to nothing.
const (
	beginAgain      = "Begin again."
	agree           = "To connect, begin again and agree."
	letAdminConsent = "Have an administrator of the organisation consent for everybody (the link for administrators, or oauth connect --admin), then begin again."
	addRedirectURI  = "Register the redirect URI exactly as it was sent, scheme, port and path: " + entraApp + " > Authentication > Add a redirect URI > Web."
	onWebPlatform   = "Move the redirect URI to the platform Web: " + entraApp + " > Authentication."
	googleClients   = googleAuth + " > Clients > the client"
	chooseAccount   = "Begin again with an account of the organisation, or have its administrator invite this one."
	copySecretValue = "Copy the secret's Value, which is shown once, and not its Secret ID: " + entraApp + " > Certificates & secrets > New client secret."
	publicFlows     = "Configure client_secret; or for a public client set Allow public client flows to Yes: " + entraApp + " > Authentication."
	multiTenant     = "Configure the app's own tenant; or make the app multitenant: " + entraApp + " > Authentication > Supported account types."
)

// deniedRows sort what an authorization server sends back in the place of a
// code. Some of it a person sees on the server's own page only, but then often
// types it off.
var deniedRows = slices.Concat(microsoftConsentRows, numbered(rows), microsoftDeniedRows, googleDeniedRows, googleRows, deniedCommonRows)

// consentRows sort the token endpoint's answers to a code or a device code.
// What they do not know is sorted as for a refresh token.
var consentRows = slices.Concat(microsoftConsentRows, microsoftCodeRows, numbered(rows), deviceRows, googleCodeRows, codeCommonRows)

// numbered are the rows that a vendor's number decides on, which is the same
// wherever it turns up.
func numbered(rows []row) []row {
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.number <= 0 })
}

// microsoftConsentRows turn up at both endpoints, and a person at the browser
// mends them by other clicks than whoever keeps an account running.
var microsoftConsentRows = []row{
	{
		provider: TypeMicrosoft, number: 65004, meaning: account.AudienceRefused,
		says:  "User declined to consent to access the app.",
		reads: "Consent was declined.", mend: agree,
		source: entraCodes + "; " + entraAdminConsent,
	},
	{
		provider: TypeMicrosoft, number: 90094, meaning: account.AudienceRefused,
		says:  "Admin consent is required for the permissions requested by this application.",
		reads: "Only an administrator of the organisation can consent to this.", mend: letAdminConsent,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90095, meaning: account.AudienceRefused,
		says:  "Admin consent is required for the permissions requested by this application. An admin consent request may be sent to the admin.",
		reads: "Only an administrator of the organisation can consent to this; a request may have been sent to them.", mend: letAdminConsent,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90093, meaning: account.AudienceRefused,
		says:  "This operation can only be performed by an administrator. Sign out and sign in as an administrator or contact one of your organization's administrators.",
		reads: "Only an administrator of the organisation can consent to this.", mend: letAdminConsent,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 900941, meaning: account.AudienceRefused,
		says:  "Administrator consent is required. App is considered risky.",
		reads: "Microsoft takes the app for risky, so only an administrator can consent to it.", mend: letAdminConsent,
		source: unconfirmed,
	},
	{
		provider: TypeMicrosoft, number: 65001, meaning: account.AudienceRefused,
		says:  "The user or administrator has not consented to use the application with ID '11111111-1111-1111-1111-111111111111' named 'Acme Mail'. Send an interactive authorization request for this user and resource.",
		reads: "Nobody has consented to this yet.", mend: "Begin again and agree. Where the organisation lets nobody agree, have an administrator do it for everybody.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50011, meaning: account.ClientMisconfigured,
		says:  "The redirect URI 'https://bellhop.example/oauth/callback' specified in the request does not match the redirect URIs configured for the application '11111111-1111-1111-1111-111111111111'.",
		reads: "The redirect URI is not registered with the app.", mend: addRedirectURI,
		source: entraCodes + "; " + entraRedirectURI,
	},
	{
		provider: TypeMicrosoft, number: 900971, meaning: account.ClientMisconfigured,
		says:  "No reply address provided.",
		reads: "No redirect URI is registered with the app.", mend: addRedirectURI,
		source: entraCodes + "; RogerSelwyn/O365-HomeAssistant#51",
	},
	{
		provider: TypeMicrosoft, number: 500113, meaning: account.ClientMisconfigured,
		says:  "No reply address is registered for the application.",
		reads: "No redirect URI is registered with the app.", mend: addRedirectURI,
		source: "OneDrive/onedrive-sample-apibrowser-dotnet#27",
	},
	{
		provider: TypeMicrosoft, number: 9002325, meaning: account.ClientMisconfigured,
		says:  "Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
		reads: "The redirect URI is registered for a single-page app.", mend: onWebPlatform,
		source: "thobach/MMM-MicrosoftToDo#27; " + entraCodeFlow,
	},
	{
		provider: TypeMicrosoft, number: 9002326, meaning: account.ClientMisconfigured,
		says:  "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
		reads: "The token request looked like one of a web page.", mend: "See that whatever forwards token requests adds no Origin header, and that the redirect URI is registered under the platform Web.",
		source: "umijs/umi-request#299",
	},
	{
		provider: TypeMicrosoft, number: 9002327, meaning: account.ClientMisconfigured,
		says:  "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
		reads: "The redirect URI is registered for a single-page app.", mend: onWebPlatform,
		source: "clocked0ne/passport-outlook#16; " + entraCodeFlow,
	},
	{
		provider: TypeMicrosoft, number: 50194, meaning: account.ClientMisconfigured,
		says:  "Application '11111111-1111-1111-1111-111111111111'(Acme Mail) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such applications created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant.",
		reads: "The app is registered for one tenant only.", mend: multiTenant,
		source: entraCodes + "; " + entraAccounts,
	},
	{
		provider: TypeMicrosoft, number: 50020, meaning: account.AudienceRefused,
		says:  "User account '{EmailHidden}' from identity provider 'live.com' does not exist in tenant 'Contoso' and cannot access the application '11111111-1111-1111-1111-111111111111'(Acme Mail) in that tenant.",
		reads: "This account does not belong to the tenant that the app is for.", mend: chooseAccount + " For any account, make the app multitenant: " + entraApp + " > Authentication > Supported account types.",
		source: entraCodes + "; " + entraAccounts,
	},
	{
		provider: TypeMicrosoft, number: 16000, meaning: account.AudienceRefused,
		says:  "User account '{EmailHidden}' from identity provider 'live.com' does not exist in tenant 'Contoso' and cannot access the application '11111111-1111-1111-1111-111111111111'(Acme Mail) in that tenant.",
		reads: "This account does not belong to the tenant that the app is for.", mend: chooseAccount,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 500208, meaning: account.AudienceRefused,
		says:  "The domain is not a valid login domain for the account type.",
		reads: "The app is not for this kind of account.", mend: "Begin again with an account of the kind that tenant in the configuration names; or change Supported account types: " + entraApp + " > Authentication.",
		source: entraCodes + "; " + entraAccounts,
	},
	{
		provider: TypeMicrosoft, number: 9002332, meaning: account.ClientMisconfigured,
		says:  "Application '11111111-1111-1111-1111-111111111111'(Acme Mail) is configured for use by Azure Active Directory users only. Please do not use the /consumers endpoint to serve this request.",
		reads: "The app is registered for work and school accounts only.", mend: "Configure tenant organizations; or change Supported account types: " + entraApp + " > Authentication.",
		source: entraCodes + "; " + entraAccounts,
	},
	{
		provider: TypeMicrosoft, number: 700016, meaning: account.ClientMisconfigured,
		says:  "Application with identifier '11111111-1111-1111-1111-111111111111' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
		reads: "The app is not known in this tenant.", mend: "Compare client_id and tenant in the configuration with Application (client) ID and Directory (tenant) ID: " + entraApp + " > Overview.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 7000215, meaning: account.ClientMisconfigured,
		says:  "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '11111111-1111-1111-1111-111111111111'.",
		reads: "The client secret is wrong; often it is the secret's ID instead of its value.", mend: copySecretValue,
		source: entraCodes + "; OfficeDev/microsoft-365-agents-toolkit#8621",
	},
	{
		provider: TypeMicrosoft, number: 7000222, meaning: account.ClientMisconfigured,
		says:  "The provided client secret keys for app '11111111-1111-1111-1111-111111111111' are expired.",
		reads: "The client secret has expired.", mend: "Configure a new one: " + entraApp + " > Certificates & secrets > New client secret.",
		source: entraCodes + "; liprec/vsts-release-aas#119",
	},
	{
		provider: TypeMicrosoft, number: 7000218, meaning: account.ClientMisconfigured,
		says:  "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
		reads: "The app wants its client to authenticate, and it did not.", mend: publicFlows,
		source: entraCodes + "; Azure/azure-sdk-for-js#21395",
	},
	{
		provider: TypeMicrosoft, number: 700025, meaning: account.ClientMisconfigured,
		says:  "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
		reads: "The redirect URI is one of a public client, and a secret was sent.", mend: onWebPlatform + " Or configure auth_style none.",
		source: entraCodes + "; Azure-Samples/ms-identity-python-webapp#113",
	},
	{
		provider: TypeMicrosoft, number: 50105, meaning: account.AudienceRefused,
		says:  "The signed in user is not assigned to a role for the application '11111111-1111-1111-1111-111111111111'(Acme Mail).",
		reads: "This account is not assigned to the app.", mend: "Have an administrator assign it: Microsoft Entra admin center > Entra ID > Enterprise apps > the app > Users and groups. Then begin again.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 650052, meaning: account.AudienceRefused,
		says:  "The app needs access to a service ('00000002-0000-0ff1-ce00-000000000000') that your organization 'Contoso' has not subscribed to or enabled. Contact your IT Admin to review the configuration of your service subscriptions.",
		reads: "The organisation has not subscribed to a service that the app asks for.", mend: "Have the administrator enable the service, or take its scopes out of the configuration; then begin again.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 650056, meaning: account.ClientMisconfigured,
		says:  "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for 'Microsoft Graph' in the requested permissions in the client's application registration.",
		reads: "The app's registration lists no permission of this resource, or no administrator has consented to it.", mend: "Add it: " + entraApp + " > API permissions > Add a permission. Then begin again.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700022, meaning: account.ClientMisconfigured,
		says:  "The provided value for the input parameter scope isn't valid because it contains more than one resource.",
		reads: "The provider takes the scopes of one resource only in this flow.", mend: "Connect in a browser instead, or configure scopes of one resource.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 28000, meaning: account.ClientMisconfigured,
		says:  "Provided value for the input parameter scope is not valid because it contains more than one resource.",
		reads: "The provider takes the scopes of one resource only in this flow.", mend: "Connect in a browser instead, or configure scopes of one resource.",
		source: "MicrosoftDocs/azure-docs#42565",
	},
	{
		provider: TypeMicrosoft, number: 70011, meaning: account.ClientMisconfigured,
		says:  "The provided value for the input parameter 'scope' isn't valid. The scope https://example.contoso.com/activity.read isn't valid.",
		reads: "A scope does not exist.", mend: "Check scopes in the configuration: each is <resource>/<permission>, and is listed under " + entraApp + " > API permissions.",
		source: entraCodes,
	},
}

// microsoftDeniedRows are without a number.
var microsoftDeniedRows = []row{
	{
		// error_subcode=cancel: the person left at the page of personal accounts.
		provider: TypeMicrosoft, code: "access_denied", suberror: "cancel", meaning: account.AudienceRefused,
		says:  "The user has denied access to the scope requested by the client application.",
		reads: "Consent was declined.", mend: agree,
		source: entraCodeFlow,
	},
	{
		provider: TypeMicrosoft, code: "access_denied", meaning: account.AudienceRefused,
		says:  "the user canceled the authentication",
		reads: "Consent was declined.", mend: agree + " If there was nothing to agree to, an administrator has to: " + letAdminConsent,
		source: entraCodeFlow,
	},
	{
		provider: TypeMicrosoft, code: "unauthorized_client", meaning: account.ClientMisconfigured,
		says:  "The client does not exist or is not enabled for consumers.",
		reads: "The app is not registered, or not for this kind of account.", mend: "Compare client_id and tenant in the configuration with " + entraApp + " > Overview, and see its Supported account types.",
		source: entraCodeFlow + "; " + entraAccounts,
	},
	{
		provider: TypeMicrosoft, code: "invalid_resource", meaning: account.AudienceRefused,
		says:  "The target resource is invalid because it does not exist.",
		reads: "A resource that the scopes name does not exist in this tenant.", mend: "Check scopes in the configuration, and that the service is enabled in the tenant.",
		source: entraCodeFlow,
	},
}

// googleDeniedRows: Google shows most of these on a page of its own.
var googleDeniedRows = []row{
	{
		provider: TypeGoogle, code: "access_denied", meaning: account.AudienceRefused,
		reads: "Consent was declined; or the app is in testing, and this account is none of its test users.", mend: agree + " In testing, add the account first: " + googleAuth + " > Audience > Test users > Add users.",
		source: googleAudience + "; Gururagavendra/gmail-cleaner#9",
	},
	{
		provider: TypeGoogle, code: "admin_policy_enforced", meaning: account.AudienceRefused,
		says:  "Access to your account data is restricted by policies within your organization. Please contact administrator for more information.",
		reads: "The organisation's administrator does not let this app have these scopes.", mend: "Have the administrator trust the client ID: " + adminConsole + ". Then begin again.",
		source: googleWebServer + "; " + googleErrorCodes + "; " + googleAppAccess,
	},
	{
		provider: TypeGoogle, code: "access_not_configured", meaning: account.AudienceRefused,
		reads: "The organisation's administrator has not configured access for this app.", mend: "Have the administrator configure it: " + adminConsole + ". Then begin again.",
		source: googleErrorCodes + "; " + googleAppAccess,
	},
	{
		provider: TypeGoogle, code: "org_internal", meaning: account.AudienceRefused,
		says:  "This client is restricted to users within its organization.",
		reads: "The app is for users of its own organisation only.", mend: "Begin again with an account of the organisation; or set User type to External: " + googleAuth + " > Audience > Make external.",
		source: googleWebServer + "; " + googleAudience,
	},
	{
		provider: TypeGoogle, code: "disallowed_useragent", meaning: account.AudienceRefused,
		reads: "Google does not ask for consent inside another app's window.", mend: "Open the link in a browser such as Chrome, Firefox, Safari or Edge.",
		source: googleWebServer + "; 3pillarlabs/socialauth-android#101",
	},
	{
		provider: TypeGoogle, code: "redirect_uri_mismatch", meaning: account.ClientMisconfigured,
		reads: "The redirect URI is not registered with the client.", mend: "Register it exactly as it was sent, scheme, port and path: " + googleClients + " > Authorized redirect URIs. Only clients of type Web application have these.",
		source: googleWebServer,
	},
	{
		provider: TypeGoogle, code: "origin_mismatch", meaning: account.ClientMisconfigured,
		reads: "The client is one for scripts in web pages.", mend: "Configure a client of type Web application: " + googleAuth + " > Clients > Create client.",
		source: googleWebServer,
	},
	{
		provider: TypeGoogle, code: "invalid_client", meaning: account.ClientMisconfigured,
		reads: "Google does not know the client ID.", mend: "Compare client_id in the configuration with " + googleClients + " > Client ID.",
		source: googleWebServer,
	},
	{
		provider: TypeGoogle, code: "invalid_scope", meaning: account.ClientMisconfigured,
		says:  "Some requested scopes were invalid. {invalid=[https://www.googleapis.com/auth/gmail.reed]}",
		reads: "A scope does not exist.", mend: "Check scopes in the configuration against " + googleAuth + " > Data Access > Add or remove scopes.",
		source: googleErrorCodes + "; bergercookie/syncall#18",
	},
	{
		provider: TypeGoogle, code: "invalid_request", meaning: account.ClientMisconfigured,
		reads: "Google takes the request for one that breaks its rules: often a redirect URI on a plain-http or private address, or a client of another type.", mend: "Use an https redirect URI on a public name, or http on localhost with oauth connect, and a client of the type Web application or Desktop app: " + googleAuth + " > Clients.",
		source: googleWebServer + "; interaapps/pastefy#53",
	},
}

// deniedCommonRows: RFC 6749 section 4.1.2.1 and OpenID Connect Core 3.1.2.6.
var deniedCommonRows = []row{
	{
		code: "access_denied", says: "The resource owner or authorization server denied the request.", meaning: account.AudienceRefused,
		reads: "Consent was declined.", mend: agree,
		source: rfc6749Authorization,
	},
	{
		code: "invalid_request", says: "The request is missing a required parameter, includes an invalid parameter value, or is otherwise malformed.", meaning: account.ClientMisconfigured,
		reads: "The provider takes the request for malformed.", mend: "Check the redirect URI that is registered, scopes and authorize_param in the configuration.",
		source: rfc6749Authorization,
	},
	{
		code: "unauthorized_client", says: "The client is not authorized to request an authorization code using this method.", meaning: account.ClientMisconfigured,
		reads: "The client may not ask for authorization codes.", mend: "Register it for the authorization code grant, and check client_id in the configuration.",
		source: rfc6749Authorization,
	},
	{
		code: "unsupported_response_type", says: "The authorization server does not support obtaining an authorization code using this method.", meaning: account.ClientMisconfigured,
		reads: "The provider gives this client no authorization codes.", mend: "Register it for the response type code.",
		source: rfc6749Authorization,
	},
	{
		code: "invalid_scope", says: "The requested scope is invalid, unknown, or malformed.", meaning: account.ClientMisconfigured,
		reads: "A scope does not exist, or this client may not ask for it.", mend: "Check scopes in the configuration and in the client's registration.",
		source: rfc6749Authorization,
	},
	{
		code: "server_error", says: "The authorization server encountered an unexpected condition that prevented it from fulfilling the request.", meaning: account.ProviderDown,
		reads: "The provider reported an error of its own.", mend: "Begin again in a moment.",
		source: rfc6749Authorization,
	},
	{
		code: "temporarily_unavailable", says: "The authorization server is currently unable to handle the request due to a temporary overloading or maintenance of the server.", meaning: account.ProviderDown,
		reads: "The provider is temporarily not available.", mend: "Begin again in a moment.",
		source: rfc6749Authorization,
	},
	{
		code: "interaction_required", says: "The Authorization Server requires End-User interaction of some form to proceed.", meaning: account.AudienceRefused,
		reads: "The provider has something to ask before it goes on.", mend: beginAgain + " If it happens again, check authorize_param prompt in the configuration.",
		source: oidcCore,
	},
	{
		code: "login_required", says: "The Authorization Server requires End-User authentication.", meaning: account.AudienceRefused,
		reads: "Nobody is signed in at the provider.", mend: "Sign in there, then begin again.",
		source: oidcCore,
	},
	{
		code: "account_selection_required", says: "The End-User is required to select a session at the Authorization Server.", meaning: account.AudienceRefused,
		reads: "The provider does not know which of several accounts is meant.", mend: "Begin again and choose one.",
		source: oidcCore,
	},
	{
		code: "consent_required", says: "The Authorization Server requires End-User consent.", meaning: account.AudienceRefused,
		reads: "Nobody has consented to this yet.", mend: agree,
		source: oidcCore,
	},
	{
		code: "unmet_authentication_requirements", says: "The Authorization Server is unable to meet the requirements of the Relying Party.", meaning: account.AudienceRefused,
		reads: "A stronger sign-in is needed than the one that was made.", mend: beginAgain,
		source: oidcUnmet,
	},
	{
		code: "invalid_target", says: "The requested resource is invalid, missing, unknown, or malformed.", meaning: account.ClientMisconfigured,
		reads: "The provider does not know the resource that was named.", mend: "Check authorize_param resource in the configuration.",
		source: rfc8707,
	},
	{
		// GitHub.
		provider: TypeOAuth2, code: "redirect_uri_mismatch", says: "The redirect_uri MUST match the registered callback URL for this application.", meaning: account.ClientMisconfigured,
		reads: "The redirect URI is not registered with the client.", mend: "Register it exactly as it was sent, scheme, port and path.",
		source: githubTokenErrors,
	},
}

// The errors by which a server says that nobody has decided yet (RFC 8628
// section 3.5).
const (
	pending  = "authorization_pending"
	slowDown = "slow_down"
)

// deviceRows: RFC 8628 section 3.5 and what vendors say instead.
var deviceRows = []row{
	{
		code: pending, says: "The authorization request is still pending.", meaning: account.Unlisted,
		reads: "Nobody has agreed yet.", mend: "Open the address on any device, enter the code and agree.",
		source: rfc8628,
	},
	{
		code: slowDown, says: "The authorization request is still pending and polling should continue, but the interval must be increased.", meaning: account.Unlisted,
		reads: "Nobody has agreed yet, and the provider asks for fewer requests.", mend: "Open the address on any device, enter the code and agree.",
		source: rfc8628,
	},
	{
		code: "expired_token", says: "The device code has expired.", meaning: account.GrantDead,
		reads: "The code has expired before anybody agreed.", mend: beginAgain,
		source: rfc8628,
	},
	{
		code: "access_denied", says: "The authorization request was denied.", meaning: account.AudienceRefused,
		reads: "Consent was declined.", mend: agree,
		source: rfc8628,
	},
	{
		provider: TypeMicrosoft, code: "authorization_declined", meaning: account.AudienceRefused,
		reads: "Consent was declined.", mend: agree,
		source: entraDeviceFlow,
	},
	{
		provider: TypeMicrosoft, code: "bad_verification_code", meaning: account.GrantDead,
		reads: "The provider does not know the device code.", mend: beginAgain,
		source: entraDeviceFlow,
	},
	{
		provider: TypeGoogle, code: "invalid_client", meaning: account.ClientMisconfigured, exact: true,
		says:  "Only clients of type 'TVs and Limited Input devices' can use the OAuth 2.0 flow for TV and Limited-Input Device Applications. Please create and use an appropriate client.",
		reads: "The client is not of the type that Google admits for devices.", mend: "Configure a client of type TVs and Limited Input devices: " + googleAuth + " > Clients > Create client. Or connect without --device.",
		source: googleDevices + "; anxdpanic/plugin.video.youtube#325",
	},
	{
		provider: TypeGoogle, code: "invalid_client", meaning: account.ClientMisconfigured, exact: true,
		says:  "Invalid client type.",
		reads: "The client is not of the type that Google admits for devices.", mend: "Configure a client of type TVs and Limited Input devices: " + googleAuth + " > Clients > Create client. Or connect without --device.",
		source: googleDevices + "; anxdpanic/plugin.video.youtube#325",
	},
}

// microsoftCodeRows: what is wrong with a code.
var microsoftCodeRows = []row{
	{
		provider: TypeMicrosoft, number: 54005, meaning: account.GrantDead,
		says:  "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
		reads: "The provider's answer was used before.", mend: beginAgain,
		source: entraCodes + "; davidjrh/dnn.azureadprovider#17",
	},
	{
		provider: TypeMicrosoft, number: 501481, meaning: account.GrantDead,
		says:  "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
		reads: "The provider's answer belongs to another attempt.", mend: beginAgain,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700005, meaning: account.GrantDead,
		says:  "Provided Authorization Code is intended to use against other tenant, thus rejected.",
		reads: "The code was given by another tenant than the one that it was sent to.", mend: "Check that authorization_endpoint and token_endpoint name one tenant, then begin again.",
		source: entraCodes + "; MicrosoftDocs/azure-docs#51023",
	},
	{
		provider: TypeMicrosoft, number: 70008, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.",
		reads: "The provider's answer has expired.", mend: beginAgain,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 70019, meaning: account.GrantDead,
		says:  "Verification code expired.",
		reads: "The code has expired before anybody agreed.", mend: beginAgain,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 70000, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The provided value for the 'code' parameter is not valid.",
		reads: "The provider does not accept the code.", mend: beginAgain,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 9002313, meaning: account.GrantDead,
		says:  "Invalid request. Request is malformed or invalid.",
		reads: "The provider does not accept the code.", mend: beginAgain,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 28003, meaning: account.ClientMisconfigured,
		says:  "Provided value for the input parameter scope cannot be empty when requesting an access token using the provided authorization code. Please specify a valid scope.",
		reads: "None of the scopes was granted.", mend: "Check scopes in the configuration, then begin again.",
		source: entraCodes + "; AzureAD/microsoft-authentication-library-for-python#125",
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", number: noNumber, meaning: account.GrantDead,
		reads: "The provider does not accept the code.", mend: beginAgain,
		source: rfc6749Token,
	},
}

// googleCodeRows: Google tells its cases apart by description.
var googleCodeRows = []row{
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Code was already redeemed.", meaning: account.GrantDead,
		reads: "Google's answer was used before.", mend: beginAgain,
		source: "bitly/oauth2_proxy#368",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Malformed auth code.", meaning: account.GrantDead,
		reads: "The code is not whole.", mend: "Copy the whole address, or begin again.",
		source: "googleworkspace/go-samples#85",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", meaning: account.GrantDead,
		says:  "Bad Request",
		reads: "Google does not accept the code: it has expired, was used before, or belongs to another attempt.", mend: beginAgain,
		source: rfc6749Token,
	},
	{
		provider: TypeGoogle, code: "redirect_uri_mismatch", says: "Bad Request", meaning: account.ClientMisconfigured,
		reads: "The redirect URI is not the one that the code was asked for with, or is not registered.", mend: "Register it exactly as it was sent: " + googleClients + " > Authorized redirect URIs. Then begin again.",
		source: "ramosbugs/openidconnect-rs#155; googleapis/google-auth-library-python-oauthlib#64",
	},
	{
		provider: TypeGoogle, code: "invalid_request", exact: true, says: "client_secret is missing.", meaning: account.ClientMisconfigured,
		reads: "Google wants the client's secret, also of desktop apps.", mend: "Configure client_secret: " + googleClients + " > Client secrets.",
		source: "googleapis/google-api-nodejs-client#1582",
	},
	{
		provider: TypeGoogle, code: "invalid_client", exact: true, says: "The OAuth client was not found.", meaning: account.ClientMisconfigured,
		reads: "Google does not know the client ID.", mend: "Compare client_id in the configuration with " + googleClients + " > Client ID.",
		source: "simonrob/email-oauth2-proxy#362",
	},
	{
		provider: TypeGoogle, code: "invalid_client", meaning: account.ClientMisconfigured,
		says:  "The provided client secret is invalid.",
		reads: "The client secret does not belong to the client ID.", mend: "Configure the secret anew: " + googleClients + " > Client secrets > Add secret.",
		source: "asastats/channel#1380",
	},
	{
		provider: TypeGoogle, code: "unauthorized_client", says: "Unauthorized", meaning: account.ClientMisconfigured,
		reads: "The code was given to another client, or this one may not use it.", mend: "Check client_id and client_secret in the configuration, then begin again.",
		source: "googleapis/google-api-dotnet-client#2802",
	},
	{
		provider: TypeGoogle, code: "org_internal", meaning: account.AudienceRefused,
		says:  "This client is restricted to users within its organization.",
		reads: "The app is for users of its own organisation only.", mend: "Begin again with an account of the organisation; or set User type to External: " + googleAuth + " > Audience > Make external.",
		source: googleDevices + "; " + googleAudience,
	},
	{
		provider: TypeGoogle, code: "admin_policy_enforced", meaning: account.AudienceRefused,
		reads: "The organisation's administrator does not let this app have these scopes.", mend: "Have the administrator trust the client ID: " + adminConsole + ". Then begin again.",
		source: googleDevices + "; " + googleAppAccess,
	},
	{
		provider: TypeGoogle, code: "invalid_scope", meaning: account.ClientMisconfigured,
		says:  "Invalid device flow scope: https://mail.google.com/",
		reads: "A scope does not exist, or is not one for devices.", mend: "Check scopes in the configuration, or connect without --device.",
		source: "dermesser/yup-oauth2#155",
	},
}

// codeCommonRows: RFC 6749 section 5.2, and well-known servers of their own
// words.
var codeCommonRows = []row{
	{
		code: "invalid_grant", provider: TypeOAuth2, says: "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.", meaning: account.GrantDead,
		reads: "The provider does not accept the code: it has expired, was used before, or belongs to another attempt.", mend: beginAgain,
		source: rfc6749Token,
	},
	{
		code: "unauthorized_client", says: "The authenticated client is not authorized to use this authorization grant type.", meaning: account.ClientMisconfigured,
		reads: "The client may not connect accounts this way.", mend: "Register it for the authorization code grant, or for device codes where it uses these.",
		source: rfc6749Token,
	},
	{
		code: "unsupported_grant_type", says: "The authorization grant type is not supported by the authorization server.", meaning: account.ClientMisconfigured,
		reads: "The provider does not connect accounts this way.", mend: "Check token_endpoint in the configuration, or connect another way.",
		source: rfc6749Token,
	},
	{
		code: "invalid_request", says: "The request is missing a required parameter, includes an unsupported parameter value, or is otherwise malformed.", meaning: account.ClientMisconfigured,
		reads: "The provider takes the token request for malformed.", mend: "Check auth_style, client_secret and token_endpoint in the configuration.",
		source: rfc6749Token,
	},
	// GitHub.
	{
		provider: TypeOAuth2, code: "bad_verification_code", says: "The code passed is incorrect or expired.", meaning: account.GrantDead,
		reads: "The provider does not accept the code: it is wrong or has expired.", mend: beginAgain,
		source: githubTokenErrors,
	},
	{
		provider: TypeOAuth2, code: "redirect_uri_mismatch", says: "The redirect_uri MUST match the registered callback URL for this application.", meaning: account.ClientMisconfigured,
		reads: "The redirect URI is not registered with the client.", mend: "Register it exactly as it was sent, scheme, port and path.",
		source: githubTokenErrors,
	},
	// Slack.
	{
		provider: TypeOAuth2, code: "invalid_code", meaning: account.GrantDead,
		reads: "The provider does not accept the code.", mend: beginAgain,
		source: slackAccess,
	},
	{
		provider: TypeOAuth2, code: "code_already_used", meaning: account.GrantDead,
		reads: "The provider's answer was used before.", mend: beginAgain,
		source: slackAccess,
	},
	{
		provider: TypeOAuth2, code: "bad_redirect_uri", meaning: account.ClientMisconfigured,
		reads: "The redirect URI is not the one that the code was asked for with.", mend: "Register it exactly as it was sent, then begin again.",
		source: slackAccess,
	},
}

// Denied implements [Attended].
func (c *common) Denied(answer url.Values) *account.Failure {
	m, resp := deniedMembers(answer), &response{header: http.Header{}}
	f := sortError(c.cfg.Type, resp, m)
	if m.text("error") == "" {
		f.Meaning, f.Reads, f.Mend = account.Unlisted, "The provider's answer has neither a code nor an error.", beginAgain
		return f
	}
	sortAnew(f, c.cfg.Type, deniedRows, m)
	if f.Mend == "" {
		f.Mend = beginAgain
	}
	withhold(f, resp, url.Values{"code": answer["code"], "token": answer["state"]}, secret.String{})
	return f
}

// errorURI is the address under which Microsoft explains an error.
var errorURI = regexp.MustCompile(`^https://login\.[a-z.]+/error\?code=([0-9]{1,9})$`)

// deniedMembers writes the parameters of an authorization error as the members
// of a token endpoint's, which are sorted by the same means.
func deniedMembers(answer url.Values) members {
	m := members{}
	for to, from := range map[string]string{
		"error": "error", "error_description": "error_description", "claims": "claims",
		"suberror": "error_subcode", "error_subtype": "error_subtype",
	} {
		if value := answer.Get(from); value != "" {
			// Strings always marshal.
			m[to], _ = json.Marshal(value)
		}
	}
	if found := errorURI.FindStringSubmatch(answer.Get("error_uri")); found != nil && !aadsts.MatchString(answer.Get("error_description")) {
		if number, err := strconv.Atoi(found[1]); err == nil {
			m["error_codes"] = json.RawMessage("[" + strconv.Itoa(number) + "]")
		}
	}
	return m
}

// sortAnew gives a failure the meaning that its error has among these rows, if
// it has one there. A status that says of itself to come back stays what it is,
// but for the polls of a device, which do.
func sortAnew(f *account.Failure, providerType string, rows []row, m members) {
	e := readError(providerType, m)
	later := f.Status == http.StatusTooManyRequests || f.Status == http.StatusRequestTimeout || f.Status == http.StatusTooEarly
	i := slices.IndexFunc(rows, func(r row) bool { return r.fits(providerType, e) })
	if e.code == "" || i < 0 || later && e.code != pending && e.code != slowDown {
		return
	}
	f.Meaning, f.Reads, f.Mend = rows[i].meaning, rows[i].reads, rows[i].mend
	if rows[i].number > 0 {
		f.Number = "AADSTS" + strconv.Itoa(rows[i].number)
	}
	if f.Meaning == account.AudienceRefused {
		f.Claims = claimsOf(m)
	}
}
