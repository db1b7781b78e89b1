package provider

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bellhop-proxy/bellhop/internal/account"
)

// maxRetryAfter is the longest wait that is taken from a server's word.
const maxRetryAfter = time.Hour

// maxClaims is the longest claims challenge that is kept.
const maxClaims = 8 << 10

// row says what one error answer means. The first row that fits decides.
type row struct {
	// provider is the type it is about; empty for all.
	provider string
	// code is the answer's "error", suberror its "suberror" or
	// "error_subtype". An empty one fits everything.
	code, suberror string
	// number is an AADSTS number; 0 fits everything, noNumber an answer
	// without one.
	number int
	// says is what servers write beside it, in their own words. With exact the
	// answer must say this and nothing else.
	says  string
	exact bool

	meaning account.Meaning
	// reads and mend are for people: what happened, and what helps.
	reads, mend string
	// source is where such an answer is written down: a document named below, a
	// public thread ("owner/repository#number"), or both. What is unconfirmed
	// ends an account only where its code is invalid_grant.
	source string
}

// noNumber is the number of a row that wants none in the answer.
const noNumber = -1

// The documents that rows are of.
const (
	// Microsoft Entra authentication and authorization error codes,
	// learn.microsoft.com/entra/identity-platform/reference-error-codes.
	entraCodes = "Entra error codes"
	// MSAL.NET's UiRequiredExceptionClassification,
	// learn.microsoft.com/dotnet/api/microsoft.identity.client.uirequiredexceptionclassification.
	msalClassification = "MSAL.NET UiRequiredExceptionClassification"
	// Google Account Help, Understand & fix error codes,
	// support.google.com/accounts/answer/16668185.
	googleErrorCodes = "Google Account error codes"
	// Google Cloud Help, OAuth Application Rate Limits,
	// support.google.com/cloud/answer/9028764.
	googleRateLimits = "Google OAuth application rate limits"
	// GitHub Docs, Troubleshooting OAuth app access token request errors,
	// docs.github.com/apps/oauth-apps/maintaining-oauth-apps.
	githubTokenErrors = "GitHub OAuth app access token request errors" //nolint:gosec // prose
	// Google Identity, Using OAuth 2.0 for Server to Server Applications, JWT
	// error codes, developers.google.com/identity/protocols/oauth2/service-account.
	googleJWTErrors = "Google JWT error codes"
	// Slack's method reference, docs.slack.dev/reference/methods/oauth.v2.access.
	slackAccess = "Slack oauth.v2.access"

	rfc6749Token         = "RFC 6749 section 5.2" //nolint:gosec // prose
	rfc6749Authorization = "RFC 6749 section 4.1.2.1"
	rfc6750              = "RFC 6750 section 3.1"
	rfc8628              = "RFC 8628 section 3.5"
	rfc8707              = "RFC 8707 section 2"
	oidcCore             = "OpenID Connect Core 1.0 section 3.1.2.6"
	// OpenID Connect Core Error Code unmet_authentication_requirements,
	// openid.net/specs/openid-connect-unmet-authentication-requirements-1_0.html.
	oidcUnmet = "OpenID Connect unmet_authentication_requirements 1.0 section 1"

	unconfirmed = "unconfirmed"
)

// What mends most failures.
const (
	reconnect     = "Reconnect the account."
	askUser       = "Have the user sign in again: reconnect the account."
	askAdmin      = "Ask the organisation's administrator to allow the app, then reconnect the account."
	createAnother = "Create a new client secret in the app's registration and configure it before the old one."
	fixClient     = "Check client_id and the client's credentials in the configuration against the app's registration."
	fixTenant     = "Check tenant in the configuration against the app's registration."
	fixCloud      = "Check cloud in the configuration."
	fixScopes     = "Check scopes in the configuration, then reconnect the account."
	fixAssertion  = "Check client_certificate in the configuration, and the server's clock."
	enableUser    = "Have the organisation's administrator restore the user, then reconnect the account."
	nothingToDo   = "Nothing; it is tried again."
)

// rows is the whole of what is known of error answers.
//
// Only what stands here ends an account or sends a person to consent. An
// invalid_grant of Microsoft's with a number that does not stand here ends
// nothing.
var rows = slices.Concat(microsoftAppRows, microsoftGrantRows, microsoftAudienceRows, microsoftClientRows, microsoftServerRows, googleRows, serviceAccountRows, commonRows)

// microsoftGrantRows: the user, or the refresh token itself, is no longer good.
var microsoftGrantRows = []row{
	{
		provider: TypeMicrosoft, number: 50173, meaning: account.GrantDead,
		says:  "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '2021-01-05T05:09:31.5970000Z' and the TokensValidFrom date (before which tokens are not valid) for this user is '2021-01-14T06:26:06.0000000Z'.",
		reads: "The grant was revoked: the user's password changed, or somebody ended the user's sessions.", mend: askUser,
		source: entraCodes + "; Azure/azure-cli#16745",
	},
	{
		provider: TypeMicrosoft, number: 50133, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The session is not valid due to password expiration or recent password change.",
		reads: "The user's password changed or expired.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50132, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The session is not valid due to password expiration or recent password change.",
		reads: "The user's password changed or expired.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50055, code: "invalid_grant", suberror: "user_password_expired", meaning: account.GrantDead,
		says:  "The password is expired.",
		reads: "The user's password has expired.", mend: "Have the user set a new password, then reconnect the account.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50144, meaning: account.GrantDead,
		says:  "The user's Active Directory password has expired.",
		reads: "The user's password has expired.", mend: "Have the user set a new password, then reconnect the account.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50126, meaning: account.GrantDead,
		says:  "Error validating credentials due to invalid username or password.",
		reads: "The user's credentials are no longer accepted.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50034, meaning: account.GrantDead,
		says:  "The user account {EmailHidden} does not exist in the 00000000-0000-0000-0000-000000000000 directory. To sign into this application, the account must be added to the directory.",
		reads: "The user no longer exists in the directory.", mend: enableUser,
		source: entraCodes + "; Microsoft365DSC/Microsoft365DSC#801",
	},
	{
		provider: TypeMicrosoft, number: 51004, meaning: account.GrantDead,
		says:  "The user account {EmailHidden} does not exist in the 00000000-0000-0000-0000-000000000000 directory. To sign into this application, the account must be added to the directory.",
		reads: "The user no longer exists in the directory.", mend: enableUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50020, meaning: account.GrantDead,
		says:  "User account '{EmailHidden}' from identity provider 'live.com' does not exist in tenant 'Contoso' and cannot access the application '11111111-1111-1111-1111-111111111111'(Acme Mail) in that tenant.",
		reads: "The user does not exist in this tenant.", mend: "Have the administrator invite the user, or reconnect with an account of the tenant.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50057, meaning: account.GrantDead,
		says:  "The user account is disabled.",
		reads: "The user's account is disabled.", mend: enableUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50085, meaning: account.GrantDead,
		says:  "Refresh token needs social IDP login. Have user try signing-in again with username -password",
		reads: "The user must sign in at the account's own identity provider again.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50089, meaning: account.GrantDead,
		says:  "Authentication failed due to flow token expired.",
		reads: "The sign-in behind the grant has expired.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50139, meaning: account.GrantDead,
		says:  "Session is invalid due to missing external refresh token.",
		reads: "The sign-in behind the grant has expired.", mend: askUser,
		source: entraCodes,
	},
	// Asking for scopes that were never granted has this number too, at
	// personal accounts.
	{
		provider: TypeMicrosoft, number: 70000, code: "invalid_grant", exact: true, meaning: account.AudienceRefused,
		says:  "The request was denied because one or more scopes requested are unauthorized or expired. The user must first sign in and grant the client application access to the requested scope.",
		reads: "One of the scopes was not granted by the user.", mend: reconnect,
		source: entraCodes + "; AzureAD/microsoft-authentication-library-for-js#3303",
	},
	{
		provider: TypeMicrosoft, number: 70000, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The provided value for the input parameter 'refresh_token' or 'assertion' is not valid.",
		reads: "The refresh token is not valid.", mend: reconnect,
		source: entraCodes + "; BingAds/BingAds-Python-SDK#279",
	},
	{
		provider: TypeMicrosoft, number: 9002313, code: "invalid_grant", meaning: account.GrantDead,
		says:  "Invalid request. Request is malformed or invalid.",
		reads: "The refresh token is malformed.", mend: reconnect,
		source: entraCodes + "; MicrosoftDocs/azure-docs#63819",
	},
	{
		provider: TypeMicrosoft, number: 70008, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The refresh token has expired due to inactivity. The token was issued on 2024-01-05T09:00:00.0000000Z and was inactive for 90.00:00:00.",
		reads: "The refresh token lapsed because it was not used.", mend: reconnect,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700081, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The refresh token has expired due to maximum lifetime. The token was issued on 2024-01-05T09:00:00.0000000Z and the maximum allowed lifetime for this application is 1.00:00:00.",
		reads: "The refresh token reached its greatest age.", mend: reconnect,
		source: "AzureAD/microsoft-authentication-library-for-js#3931",
	},
	{
		provider: TypeMicrosoft, number: 700082, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The refresh token has expired due to inactivity. The token was issued on 2024-01-05T09:00:00.0000000Z and was inactive for 90.00:00:00.",
		reads: "The refresh token lapsed because it was not used.", mend: reconnect,
		source: entraCodes + "; MicrosoftDocs/azure-docs#23702",
	},
	{
		provider: TypeMicrosoft, number: 700084, code: "invalid_grant", meaning: account.GrantDead,
		says:  "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page.",
		reads: "The refresh token was given to a single-page app, whose tokens live a day.", mend: "Register the redirect URI under the platform Web instead of Single-page application, then reconnect the account.",
		source: entraCodes + "; AzureAD/microsoft-authentication-library-for-js#6765",
	},
	{
		provider: TypeMicrosoft, number: 70043, code: "invalid_grant", suberror: "token_expired", meaning: account.GrantDead,
		says:  "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on 2023-06-02T14:27:05.8405153Z and the maximum allowed lifetime for this request is 86400.",
		reads: "The organisation wants users to sign in more often, and the last sign-in is too long ago.", mend: askUser,
		source: entraCodes + "; simonrob/email-oauth2-proxy#181",
	},
	{
		provider: TypeMicrosoft, number: 70043, code: "interaction_required", meaning: account.AudienceRefused,
		says:  "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on 2021-11-10T02:49:07.6225734Z and the maximum allowed lifetime for this request is 3600.",
		reads: "The organisation wants users of this resource to sign in more often, and the last sign-in is too long ago.", mend: askUser,
		source: entraCodes + "; KelvinTegelaar/CIPP#1156",
	},
	{
		provider: TypeMicrosoft, number: 70043, meaning: account.GrantDead,
		says:  "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.",
		reads: "The organisation wants users to sign in more often, and the last sign-in is too long ago.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700003, meaning: account.GrantDead,
		says:  "Device object was not found in the tenant 'Contoso' directory.",
		reads: "The device that the user signed in on was removed from the directory.", mend: askUser,
		source: "AzureAD/azure-activedirectory-library-for-java#294",
	},
	{
		provider: TypeMicrosoft, number: 135011, meaning: account.GrantDead,
		says:  "Device used during the authentication is disabled.",
		reads: "The device that the user signed in on is disabled.", mend: askUser,
		source: entraCodes + "; microsoft/GitHub-Copilot-for-Azure#494",
	},
	{
		provider: TypeMicrosoft, number: 700005, code: "invalid_grant", meaning: account.GrantDead,
		says:  "Provided Authorization Code is intended to use against other tenant, thus rejected.",
		reads: "The grant belongs to another tenant.", mend: reconnect,
		source: entraCodes + "; MicrosoftDocs/azure-docs#51023",
	},
}

// microsoftAudienceRows: consent, assignment or Conditional Access is missing
// for one resource.
var microsoftAudienceRows = []row{
	{
		provider: TypeMicrosoft, number: 50076, code: "invalid_grant", suberror: "basic_action", meaning: account.AudienceRefused,
		says:  "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
		reads: "Multi-factor authentication is needed for this resource.", mend: askUser,
		source: entraCodes + "; microsoftgraph/microsoft-graph-docs-contrib#6306",
	},
	{
		provider: TypeMicrosoft, number: 50076, meaning: account.AudienceRefused,
		says:  "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '00000002-0000-0ff1-ce00-000000000000'.",
		reads: "Multi-factor authentication is needed for this resource.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50078, meaning: account.AudienceRefused,
		says:  "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
		reads: "The multi-factor authentication is too old for this resource.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50079, meaning: account.AudienceRefused,
		says:  "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
		reads: "The user must set up multi-factor authentication.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50072, meaning: account.AudienceRefused,
		says:  "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '00000003-0000-0000-c000-000000000000'.",
		reads: "The user must set up multi-factor authentication.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50074, meaning: account.AudienceRefused,
		says:  "Strong Authentication is required.",
		reads: "Multi-factor authentication is needed for this resource.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50097, meaning: account.AudienceRefused,
		says:  "Device authentication is required.",
		reads: "This resource wants a sign-in on a registered device.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50105, meaning: account.AudienceRefused,
		says:  "The signed in user is not assigned to a role for the application '11111111-1111-1111-1111-111111111111'(Acme Mail).",
		reads: "The user is not assigned to the app.", mend: "Have the administrator assign the user to the enterprise application, then reconnect the account.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50131, meaning: account.AudienceRefused,
		says:  "Device is not in required device state: compliant.",
		reads: "Conditional Access refused this resource.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50158, meaning: account.AudienceRefused,
		says:  "External security challenge not satisfied. User will be redirected to another page or authentication provider to satisfy additional authentication challenges.",
		reads: "A further check at another provider is needed for this resource.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 53000, meaning: account.AudienceRefused,
		says:  "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant.",
		reads: "This resource wants a device that follows the organisation's rules.", mend: askAdmin,
		source: entraCodes + "; AzureAD/microsoft-authentication-library-common-for-objc#1811",
	},
	{
		provider: TypeMicrosoft, number: 53001, meaning: account.AudienceRefused,
		says:  "Conditional Access policy requires a domain joined device, and the device is not domain joined.",
		reads: "This resource wants a device that is joined to the domain.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 53002, meaning: account.AudienceRefused,
		says:  "The app used is not an approved app for Conditional Access.",
		reads: "Conditional Access admits only approved apps to this resource.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 53003, code: "interaction_required", suberror: "message_only", meaning: account.AudienceRefused,
		says:  "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
		reads: "Conditional Access blocks this resource.", mend: askAdmin,
		source: entraCodes + "; MartinIngesen/MSOLSpray#5",
	},
	{
		provider: TypeMicrosoft, number: 53003, meaning: account.AudienceRefused,
		says:  "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
		reads: "Conditional Access blocks this resource.", mend: askAdmin,
		source: entraCodes + "; OfficeDev/BotBuilder-MicrosoftTeams#284",
	},
	{
		provider: TypeMicrosoft, number: 53004, meaning: account.AudienceRefused,
		says:  "User needs to complete Multi-factor authentication registration process before accessing this content.",
		reads: "The user must set up multi-factor authentication.", mend: askUser,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 53011, meaning: account.AudienceRefused,
		says:  "User blocked due to risk on home tenant.",
		reads: "The user is blocked because the sign-ins look risky.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 530002, meaning: account.AudienceRefused,
		says:  "Your device is required to be compliant to access this resource.",
		reads: "This resource wants a device that follows the organisation's rules.", mend: askAdmin,
		source: "AzureAD/microsoft-authentication-library-common-for-objc#1811",
	},
	{
		provider: TypeMicrosoft, number: 530003, meaning: account.AudienceRefused,
		says:  "Your device is required to be managed to access this resource.",
		reads: "This resource wants a device that the organisation manages.", mend: askAdmin,
		source: "Azure/azure-cli#29282",
	},
	{
		provider: TypeMicrosoft, number: 530032, meaning: account.AudienceRefused,
		says:  "Blocked by security policy configured by your tenant admin.",
		reads: "A security policy of the organisation blocks this request.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 530084, meaning: account.AudienceRefused,
		says:  "Access has been blocked by conditional access token protection policy configured by this organization.",
		reads: "A token protection policy of the organisation blocks this resource.", mend: askAdmin,
		source: "Azure/azure-dev#7704",
	},
	{
		provider: TypeMicrosoft, number: 65001, code: "invalid_grant", suberror: "consent_required", meaning: account.AudienceRefused,
		says:  "The user or administrator has not consented to use the application with ID '11111111-1111-1111-1111-111111111111' named 'Acme Mail'. Send an interactive authorization request for this user and resource.",
		reads: "Consent is missing for this resource.", mend: reconnect,
		source: entraCodes + "; stevenmaguire/oauth2-microsoft#31",
	},
	{
		provider: TypeMicrosoft, number: 65001, meaning: account.AudienceRefused,
		says:  "The user or administrator has not consented to use the application with ID '11111111-1111-1111-1111-111111111111' named 'Acme Mail'. Send an interactive authorization request for this user and resource.",
		reads: "Consent is missing for this resource.", mend: reconnect,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 65004, meaning: account.AudienceRefused,
		says:  "User declined to consent to access the app.",
		reads: "The user declined to consent.", mend: reconnect,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 65005, meaning: account.AudienceRefused,
		says:  "The application needs access to a service that your organization Contoso has not subscribed to.",
		reads: "The app asks for permissions that this resource does not offer it.", mend: "Check scopes in the configuration and the API permissions of the app's registration.",
		source: entraCodes + "; aspnet/Identity#665",
	},
	{
		provider: TypeMicrosoft, number: 650052, meaning: account.AudienceRefused,
		says:  "The app needs access to a service ('00000002-0000-0ff1-ce00-000000000000') that your organization 'Contoso' has not subscribed to or enabled. Contact your IT Admin to review the configuration of your service subscriptions.",
		reads: "The organisation has not subscribed to this resource.", mend: "Have the administrator enable the service, then reconnect the account.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 650057, meaning: account.AudienceRefused,
		says:  "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration.",
		reads: "The app's registration does not list this resource.", mend: "Add the resource to the API permissions of the app's registration, then reconnect the account.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 70011, code: "invalid_scope", meaning: account.AudienceRefused,
		says:  "The provided value for the input parameter 'scope' isn't valid. The scope https://example.contoso.com/activity.read isn't valid.",
		reads: "A scope of this resource does not exist.", mend: fixScopes,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 28002, meaning: account.AudienceRefused,
		says:  "Provided value for the input parameter scope 'https://graph.microsoft.com/Mail.Reed' is not valid when requesting an access token. Please specify a valid scope.",
		reads: "A scope of this resource does not exist.", mend: fixScopes,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 500011, meaning: account.AudienceRefused,
		says:  "The resource principal named https://contoso.sharepoint.com was not found in the tenant named Contoso. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
		reads: "This resource does not exist in the user's tenant.", mend: fixScopes,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50001, meaning: account.AudienceRefused,
		says:  "The resource is disabled or does not exist.",
		reads: "This resource does not exist in the user's tenant.", mend: fixScopes,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90094, meaning: account.AudienceRefused,
		says:  "Administrator consent is required.",
		reads: "Only an administrator can consent to this.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90095, meaning: account.AudienceRefused,
		says:  "Admin consent is required.",
		reads: "Only an administrator can consent to this.", mend: askAdmin,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700020, meaning: account.AudienceRefused,
		says:  "The access grant requires interaction.",
		reads: "The user must take a step of the sign-in again for this resource.", mend: askUser,
		source: entraCodes,
	},
}

// microsoftClientRows: the client, its credentials or its tenant is wrong.
var microsoftClientRows = []row{
	{
		provider: TypeMicrosoft, number: 7000215, meaning: account.ClientMisconfigured,
		says:  "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '11111111-1111-1111-1111-111111111111'.",
		reads: "The client secret is wrong; often it is the secret's ID instead of its value.", mend: createAnother,
		source: entraCodes + "; OfficeDev/microsoft-365-agents-toolkit#8621",
	},
	{
		provider: TypeMicrosoft, number: 7000222, meaning: account.ClientMisconfigured,
		says:  "The provided client secret keys for app '11111111-1111-1111-1111-111111111111' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
		reads: "The client secret has expired.", mend: createAnother,
		source: entraCodes + "; liprec/vsts-release-aas#119",
	},
	{
		provider: TypeMicrosoft, number: 50012, code: "invalid_client", meaning: account.ClientMisconfigured,
		says:  "Invalid client secret is provided.",
		reads: "The client's secret or assertion is wrong.", mend: fixClient,
		source: entraCodes + "; sjkp/letsencrypt-siteextension#144",
	},
	{
		provider: TypeMicrosoft, number: 7000218, meaning: account.ClientMisconfigured,
		says:  "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
		reads: "The app wants client authentication, and none was configured or the grant is of a public flow.", mend: "Configure client_secret, or allow public client flows in the app's registration.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700025, meaning: account.ClientMisconfigured,
		says:  "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
		reads: "The app is registered as a public client, and a secret was sent.", mend: "Configure auth_style none, or register the redirect URI under the platform Web.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700016, meaning: account.ClientMisconfigured,
		says:  "Application with identifier '11111111-1111-1111-1111-111111111111' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
		reads: "The app is not known in this tenant.", mend: fixTenant,
		source: entraCodes + "; jenschristianschroder/JIT-Access-Management#29",
	},
	{
		provider: TypeMicrosoft, number: 700011, meaning: account.ClientMisconfigured,
		says:  "Application with identifier '11111111-1111-1111-1111-111111111111' was not found in the directory.",
		reads: "The app is not known in this tenant.", mend: fixTenant,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 70001, meaning: account.ClientMisconfigured,
		says:  "Application with identifier '11111111-1111-1111-1111-111111111111' was not found in the directory Contoso",
		reads: "The app is disabled or not known in this tenant.", mend: fixTenant,
		source: entraCodes + "; microsoftgraph/ruby-connect-rest-sample#9",
	},
	{
		provider: TypeMicrosoft, number: 7000112, meaning: account.ClientMisconfigured,
		says:  "Application '11111111-1111-1111-1111-111111111111'(Acme Mail) is disabled.",
		reads: "The app is disabled.", mend: "Enable the enterprise application, or have the administrator do it.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700027, meaning: account.ClientMisconfigured,
		says:  "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '5A5B5C', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '11111111-1111-1111-1111-111111111111'.",
		reads: "The client certificate is not registered with the app.", mend: fixAssertion,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 700024, meaning: account.ClientMisconfigured,
		says:  "Client assertion is not within its valid time range. Current time: 2024-06-01T12:00:00.0000000Z, assertion valid from 2024-06-01T11:00:00.0000000Z, expiry time of assertion 2024-06-01T11:05:00.0000000Z.",
		reads: "The clock here and the provider's differ too much.", mend: "Set the server's clock.",
		source: "AzureAD/microsoft-authentication-library-for-dotnet#4951",
	},
	{
		provider: TypeMicrosoft, number: 700030, meaning: account.ClientMisconfigured,
		says:  "Invalid certificate - subject name in certificate is not authorized.",
		reads: "The client certificate is not the one that was registered.", mend: fixAssertion,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90002, meaning: account.ClientMisconfigured,
		says:  "Tenant 'contoso.example' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
		reads: "The tenant does not exist in this cloud.", mend: fixTenant,
		source: entraCodes + "; Azure/azure-powershell#22647",
	},
	{
		provider: TypeMicrosoft, number: 90038, meaning: account.ClientMisconfigured,
		says:  "Tenant 'contoso.example' specified belongs to the National Cloud 'MicrosoftOnline.DE'.",
		reads: "The tenant is in another of Microsoft's clouds.", mend: fixCloud,
		source: entraCodes + "; tieto/sipe#182",
	},
	{
		provider: TypeMicrosoft, number: 900382, meaning: account.ClientMisconfigured,
		says:  "Confidential Client is not supported in Cross Cloud request.",
		reads: "The tenant is in another of Microsoft's clouds.", mend: fixCloud,
		source: entraCodes + "; webprofusion/certify#553",
	},
	{
		provider: TypeMicrosoft, number: 900432, meaning: account.ClientMisconfigured,
		says:  "Confidential Client is not supported in Cross Cloud request.",
		reads: "The tenant is in another of Microsoft's clouds.", mend: fixCloud,
		source: entraCodes + "; MicrosoftDocs/azure-docs#35243",
	},
	{
		provider: TypeMicrosoft, number: 50059, meaning: account.ClientMisconfigured,
		says:  "No tenant-identifying information found in either the request or implied by any provided credentials.",
		reads: "The tenant is not known.", mend: fixTenant,
		source: entraCodes + "; AzureAD/microsoft-authentication-library-for-python#141",
	},
	{
		provider: TypeMicrosoft, number: 50128, meaning: account.ClientMisconfigured,
		says:  "Invalid domain name - No tenant-identifying information found in either the request or implied by any provided credentials.",
		reads: "The tenant is not known.", mend: fixTenant,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50194, meaning: account.ClientMisconfigured,
		says:  "Application '11111111-1111-1111-1111-111111111111'(Acme Mail) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such applications created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant.",
		reads: "The app is registered for one tenant only.", mend: "Configure that tenant, or make the app multi-tenant in its registration.",
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 9002332, meaning: account.ClientMisconfigured,
		says:  "Application '11111111-1111-1111-1111-111111111111'(Acme Mail) is configured for use by Azure Active Directory users only. Please do not use the /consumers endpoint to serve this request.",
		reads: "The app is registered for work and school accounts only.", mend: fixTenant,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 900144, meaning: account.ClientMisconfigured,
		says:  "The request body must contain the following parameter: 'client_id'.",
		reads: "The request lacked something that the client's configuration should have given it.", mend: fixClient,
		source: entraCodes,
	},
}

// microsoftServerRows: nothing was said of the grant.
var microsoftServerRows = []row{
	{
		provider: TypeMicrosoft, number: 50196, meaning: account.Throttled,
		says:  "The server terminated an operation because it encountered a client request loop. Please contact your app vendor.",
		reads: "The provider saw too many requests for one grant.", mend: nothingToDo,
		source: entraCodes + "; Azure/azure-sdk-for-net#23324",
	},
	{
		provider: TypeMicrosoft, number: 90055, meaning: account.Throttled,
		says:  "There are too many incoming requests. This exception is thrown for blocked tenants.",
		reads: "The provider throttles this tenant.", mend: nothingToDo,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90033, meaning: account.ProviderDown,
		says:  "A transient error has occurred. Please try again.",
		reads: "The provider's directory is not available.", mend: nothingToDo,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90024, meaning: account.ProviderDown,
		says:  "A transient error has occurred. Please try again.",
		reads: "The provider reported a passing error.", mend: nothingToDo,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90006, meaning: account.ProviderDown,
		says:  "The service is temporarily unavailable. Please retry later.",
		reads: "The provider is temporarily not available.", mend: nothingToDo,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 90012, meaning: account.ProviderDown,
		says:  "The request has timed out.",
		reads: "The provider's own request timed out.", mend: nothingToDo,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 50033, meaning: account.ProviderDown,
		says:  "A transient error has occurred. Please try again.",
		reads: "The provider reported a passing error.", mend: nothingToDo,
		source: entraCodes,
	},
	{
		provider: TypeMicrosoft, number: 70012, meaning: account.ProviderDown,
		says:  "A server error occurred while authenticating an MSA (consumer) user. Try again.",
		reads: "The provider's service for personal accounts reported an error.", mend: nothingToDo,
		source: entraCodes,
	},
	// Without a number, or with one that stands nowhere above, the suberror
	// still tells; a bare invalid_grant is RFC 6749's.
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "bad_token", meaning: account.GrantDead,
		reads: "The refresh token is not valid.", mend: reconnect,
		source: "AzureAD/microsoft-authentication-library-common-for-android#3234",
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "token_expired", meaning: account.GrantDead,
		reads: "The refresh token has expired.", mend: reconnect,
		source: "AzureAD/microsoft-authentication-library-common-for-android#3234",
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "user_password_expired", meaning: account.GrantDead,
		reads: "The user's password has expired.", mend: "Have the user set a new password, then reconnect the account.",
		source: msalClassification,
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "consent_required", meaning: account.AudienceRefused,
		reads: "Consent is missing for this resource.", mend: reconnect,
		source: msalClassification,
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "basic_action", meaning: account.AudienceRefused,
		reads: "The user must take a step of the sign-in again for this resource.", mend: askUser,
		source: msalClassification,
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "additional_action", meaning: account.AudienceRefused,
		reads: "This resource wants more than a sign-in, such as a managed device.", mend: askUser,
		source: msalClassification,
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", suberror: "message_only", meaning: account.AudienceRefused,
		reads: "A policy of the organisation refuses this resource.", mend: askAdmin,
		source: msalClassification,
	},
	{
		provider: TypeMicrosoft, code: "invalid_grant", number: noNumber, meaning: account.GrantDead,
		reads: "The refresh token is not valid.", mend: reconnect,
		source: rfc6749Token,
	},
}

// googleRows: Google tells its cases apart by description, which is the same
// every time, and compared as a whole.
var googleRows = []row{
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Token has been expired or revoked.", meaning: account.GrantDead,
		reads: "The grant has expired or was revoked: by the user, by a new password with mail scopes, after six months without use, or after seven days while the app is in testing.", mend: reconnect,
		source: "googleworkspace/python-samples#1644",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Token has been revoked.", meaning: account.GrantDead,
		reads: "The user revoked the grant.", mend: reconnect,
		source: unconfirmed,
	},
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Account has been deleted", meaning: account.GrantDead,
		reads: "The Google account was deleted.", mend: "Connect another account.",
		source: "FlowCrypt/flowcrypt-browser#2269",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "The account has been deleted", meaning: account.GrantDead,
		reads: "The Google account was deleted.", mend: "Connect another account.",
		source: "GAM-team/GAM#1171",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Account has been disabled", meaning: account.GrantDead,
		reads: "The Google account is disabled.", mend: enableUser,
		source: unconfirmed,
	},
	{
		provider: TypeGoogle, code: "invalid_grant", exact: true, says: "Bad Request", meaning: account.GrantDead,
		reads: "Google does not know this refresh token, at least not from this client.", mend: reconnect,
		source: "dolfim/django-gmailapi-backend#14",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", suberror: "invalid_rapt", says: "reauth related error (invalid_rapt)", meaning: account.GrantDead,
		reads: "The organisation's session length is over: its users must sign in anew from time to time.", mend: "Reconnect the account; an administrator can trust the app or change Google Cloud session control.",
		source: "anthropics/blobfile#2",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", suberror: "rapt_required", says: "reauth related error (rapt_required)", meaning: account.GrantDead,
		reads: "The organisation's session length is over: its users must sign in anew from time to time.", mend: "Reconnect the account; an administrator can trust the app or change Google Cloud session control.",
		source: "minodisk/bigquery-runner#47",
	},
	{
		provider: TypeGoogle, code: "invalid_client", exact: true, says: "The OAuth client was not found.", meaning: account.ClientMisconfigured,
		reads: "Google does not know the client ID.", mend: fixClient,
		source: "simonrob/email-oauth2-proxy#362",
	},
	{
		provider: TypeGoogle, code: "invalid_client", exact: true, says: "Unauthorized", meaning: account.ClientMisconfigured,
		reads: "The client secret does not belong to the client ID.", mend: fixClient,
		source: "hrishikeshrt/google_drive_ocr#8",
	},
	{
		provider: TypeGoogle, code: "invalid_client", exact: true, says: "The provided client secret is invalid.", meaning: account.ClientMisconfigured,
		reads: "The client secret is wrong.", mend: fixClient,
		source: "asastats/channel#1380",
	},
	{
		provider: TypeGoogle, code: "deleted_client", says: "The OAuth client was deleted.", meaning: account.ClientMisconfigured,
		reads: "The OAuth client was deleted.", mend: "Restore it in the Google Cloud console within 30 days, or configure another and reconnect its accounts.",
		source: "googleapis/google-api-nodejs-client#1256",
	},
	{
		provider: TypeGoogle, code: "disabled_client", says: "The OAuth client was disabled.", meaning: account.ClientMisconfigured,
		reads: "The OAuth client is disabled.", mend: "Enable it in the Google Cloud console.",
		source: "openpubkey/opkssh#617",
	},
	{
		provider: TypeGoogle, code: "unauthorized_client", says: "Unauthorized", meaning: account.ClientMisconfigured,
		reads: "The refresh token was not given to this client.", mend: fixClient,
		source: "googleapis/google-api-dotnet-client#2802",
	},
	{
		provider: TypeGoogle, code: "org_internal", says: "This client is restricted to users within its organization.", meaning: account.AudienceRefused,
		reads: "The app is for users of its own organisation only.", mend: "Set the app's user type to External in the Google Cloud console, then reconnect the account.",
		source: "GAM-team/got-your-back#274",
	},
	{
		provider: TypeGoogle, code: "admin_policy_enforced", says: "Access to your account data is restricted by policies within your organization. Please contact administrator for more information.", meaning: account.AudienceRefused,
		reads: "The organisation's administrator does not let this app have these scopes.", mend: askAdmin,
		source: googleErrorCodes + "; oauthlib/oauthlib#707",
	},
	{
		provider: TypeGoogle, code: "policy_enforced", says: "Advanced Protection prevented your Google Account from being signed in.", meaning: account.AudienceRefused,
		reads: "Advanced Protection keeps this app from these scopes.", mend: "The user must leave Advanced Protection or use another account.",
		source: "joseballester/muFunds#46; twentyhq/twenty#25148",
	},
	{
		provider: TypeGoogle, code: "access_denied", says: "Account restricted", meaning: account.AudienceRefused,
		reads: "Google refuses this account access for now.", mend: "Have the user sign in at accounts.google.com and follow what it asks, then reconnect the account.",
		source: "GAM-team/GAM#1766",
	},
	{
		provider: TypeGoogle, code: "invalid_scope", says: "Some requested scopes were invalid. {invalid=[https://www.googleapis.com/auth/gmail.reed]}", meaning: account.AudienceRefused,
		reads: "A scope does not exist, or was not granted.", mend: fixScopes,
		source: "bergercookie/syncall#18",
	},
	{
		provider: TypeGoogle, code: "restricted_client", says: "Unregistered scope(s) in the request: https://mail.google.com/", meaning: account.AudienceRefused,
		reads: "The app is not registered for one of the scopes.", mend: "Add the scope to the app's data access in the Google Cloud console, then reconnect the account.",
		source: "link-assistant/agent#93",
	},
	{
		provider: TypeGoogle, code: "rate_limit_exceeded", meaning: account.Throttled,
		reads: "Google saw too many requests.", mend: nothingToDo,
		source: googleRateLimits,
	},
	{
		provider: TypeGoogle, code: "quota_exceeded", meaning: account.Throttled,
		reads: "The app has used up its quota of tokens.", mend: nothingToDo,
		source: unconfirmed,
	},
	{
		provider: TypeGoogle, code: "internal_failure", says: "Backend Error", meaning: account.ProviderDown,
		reads: "Google reported an error of its own.", mend: nothingToDo,
		source: "yasyf/vc#187",
	},
	{
		provider: TypeGoogle, code: "invalid_grant", meaning: account.GrantDead,
		reads: "Google does not accept the refresh token any more.", mend: reconnect,
		source: rfc6749Token,
	},
}

// commonRows: RFC 6749 section 5.2, RFC 6750, RFC 8628, RFC 8707, OpenID
// Connect Core 3.1.2.6, and a few well-known servers with words of their own.
var commonRows = []row{
	{
		provider: TypeOAuth2, code: "invalid_grant", says: "The provided authorization grant or refresh token is invalid, expired or revoked.", meaning: account.GrantDead,
		reads: "The refresh token is invalid, expired or revoked.", mend: reconnect,
		source: rfc6749Token,
	},
	// GitHub.
	{
		provider: TypeOAuth2, code: "bad_refresh_token", says: "The refresh token passed is incorrect or expired.", meaning: account.GrantDead,
		reads: "The refresh token is wrong or expired.", mend: reconnect,
		source: "langchain-ai/open-swe#1491",
	},
	{
		provider: TypeOAuth2, code: "incorrect_client_credentials", says: "The client_id and/or client_secret passed are incorrect.", meaning: account.ClientMisconfigured,
		reads: "The client ID or secret is wrong.", mend: fixClient,
		source: githubTokenErrors,
	},
	// Slack.
	{
		provider: TypeOAuth2, code: "invalid_refresh_token", meaning: account.GrantDead,
		reads: "The refresh token is invalid.", mend: reconnect,
		source: "CogniQ/CogniQ#72",
	},
	{
		provider: TypeOAuth2, code: "token_revoked", meaning: account.Unlisted,
		reads: "The provider says that a token was revoked.", mend: reconnect,
		source: unconfirmed,
	},
	{
		provider: TypeOAuth2, code: "account_inactive", meaning: account.Unlisted,
		reads: "The provider says that the user's account is not active.", mend: enableUser,
		source: unconfirmed,
	},
	{
		provider: TypeOAuth2, code: "bad_client_secret", meaning: account.ClientMisconfigured,
		reads: "The client secret is wrong.", mend: fixClient,
		source: slackAccess,
	},
	{
		provider: TypeOAuth2, code: "invalid_client_id", meaning: account.ClientMisconfigured,
		reads: "The client ID is wrong.", mend: fixClient,
		source: slackAccess,
	},
	{
		provider: TypeOAuth2, code: "ratelimited", meaning: account.Throttled,
		reads: "The provider saw too many requests.", mend: nothingToDo,
		source: "beginner-corp/slack#105",
	},
	// All types.
	{
		code: "invalid_client", says: "Client authentication failed.", meaning: account.ClientMisconfigured,
		reads: "The client ID or its credentials are wrong.", mend: fixClient,
		source: rfc6749Token,
	},
	{
		code: "unauthorized_client", says: "The client is not authorized to use this grant type.", meaning: account.ClientMisconfigured,
		reads: "The client may not renew tokens.", mend: fixClient,
		source: rfc6749Token,
	},
	{
		code: "unsupported_grant_type", says: "The grant type is not supported.", meaning: account.ClientMisconfigured,
		reads: "The provider does not renew tokens with refresh tokens.", mend: "Check token_endpoint in the configuration, and that the client is registered for refresh tokens.",
		source: rfc6749Token,
	},
	{
		code: "invalid_scope", says: "The requested scope is invalid, unknown or exceeds what was granted.", meaning: account.AudienceRefused,
		reads: "A scope is not known or was not granted.", mend: fixScopes,
		source: rfc6749Token,
	},
	{
		code: "invalid_target", says: "The requested resource is invalid, missing, unknown, or malformed.", meaning: account.AudienceRefused,
		reads: "The provider does not know this resource.", mend: fixScopes,
		source: rfc8707,
	},
	{
		code: "invalid_resource", says: "The target resource is invalid because it doesn't exist.", meaning: account.AudienceRefused,
		reads: "The provider does not know this resource.", mend: fixScopes,
		source: entraCodes,
	},
	{
		code: "insufficient_scope", meaning: account.AudienceRefused,
		reads: "The grant has too few scopes.", mend: fixScopes,
		source: rfc6750,
	},
	{
		code: "interaction_required", says: "The request requires user interaction.", meaning: account.AudienceRefused,
		reads: "The user must take a step of the sign-in again.", mend: askUser,
		source: oidcCore,
	},
	{
		code: "consent_required", says: "The user must consent.", meaning: account.AudienceRefused,
		reads: "Consent is missing.", mend: reconnect,
		source: oidcCore,
	},
	{
		code: "login_required", says: "The user must sign in.", meaning: account.AudienceRefused,
		reads: "The user must sign in again.", mend: askUser,
		source: oidcCore,
	},
	{
		code: "unmet_authentication_requirements", says: "The required authentication could not be met.", meaning: account.AudienceRefused,
		reads: "A stronger sign-in is needed.", mend: askUser,
		source: oidcUnmet,
	},
	{
		code: "access_denied", says: "The resource owner or authorization server denied the request.", meaning: account.AudienceRefused,
		reads: "The provider denied the request.", mend: askUser,
		source: rfc6749Authorization,
	},
	{
		code: "server_error", says: "The server met an unexpected condition.", meaning: account.ProviderDown,
		reads: "The provider reported an error of its own.", mend: nothingToDo,
		source: rfc6749Authorization,
	},
	{
		code: "temporarily_unavailable", says: "The server is temporarily too busy to handle the request.", meaning: account.ProviderDown,
		reads: "The provider is temporarily not available.", mend: nothingToDo,
		source: rfc6749Authorization,
	},
	{
		code: "slow_down", says: "Too many requests.", meaning: account.Throttled,
		reads: "The provider asks for fewer requests.", mend: nothingToDo,
		source: rfc8628,
	},
}

// errorAnswer is what of an error answer decides its meaning.
type errorAnswer struct {
	code, suberror string
	numbers        []int
	description    string
}

func (r row) fits(providerType string, e errorAnswer) bool {
	switch {
	case r.provider != "" && r.provider != providerType && r.provider != speaksAs(providerType),
		r.code != "" && r.code != e.code,
		r.suberror != "" && r.suberror != e.suberror,
		r.exact && r.says != e.description:
		return false
	case r.number == noNumber:
		return len(e.numbers) == 0
	case r.number != 0:
		return slices.Contains(e.numbers, r.number)
	}
	return true
}

// sortError sorts an answer that is no success. The body decides; of the
// status only what says that the answer is not about the grant at all.
func sortError(providerType string, resp *response, m members) *account.Failure {
	e := readError(providerType, m)
	f := &account.Failure{
		Meaning:    account.ProviderDown,
		Status:     resp.status,
		Code:       readable(e.code),
		Suberror:   readable(e.suberror),
		RetryAfter: retryAfter(resp.header),
	}
	if f.Code != "" {
		f.Description = m.text("error_description")
	}
	if len(e.numbers) > 0 {
		f.Number = "AADSTS" + strconv.Itoa(e.numbers[0])
	}
	switch resp.status {
	case http.StatusTooManyRequests:
		f.Meaning, f.Reads, f.Mend = account.Throttled, "The provider saw too many requests.", nothingToDo
		return f
	case http.StatusRequestTimeout, http.StatusTooEarly:
		f.Reads, f.Mend = "The provider could not take the request just then.", nothingToDo
		return f
	}
	if e.code == "" {
		f.Reads, f.Mend = "The provider's answer is no OAuth answer.", nothingToDo
		return f
	}
	i := slices.IndexFunc(rows, func(r row) bool { return r.fits(providerType, e) })
	if i < 0 {
		f.Meaning, f.Reads = account.Unlisted, "The provider answered with an error that is not known here."
		return f
	}
	f.Meaning, f.Reads, f.Mend = rows[i].meaning, rows[i].reads, rows[i].mend
	if rows[i].number > 0 {
		f.Number = "AADSTS" + strconv.Itoa(rows[i].number)
	}
	if f.Meaning == account.AudienceRefused {
		f.Claims = claimsOf(m)
	}
	return f
}

// What stands around the words of a Microsoft description: "AADSTS65001: The
// user or administrator has not consented … Trace ID: …".
var (
	aadsts = regexp.MustCompile(`^AADSTS([0-9]{1,9}):\s*`)
	trace  = regexp.MustCompile(`\s+Trace ID:`)
)

func readError(providerType string, m members) errorAnswer {
	e := errorAnswer{code: m.text("error"), suberror: m.text("suberror"), description: m.text("error_description")}
	if e.suberror == "" {
		e.suberror = m.text("error_subtype")
	}
	if speaksAs(providerType) != TypeMicrosoft {
		return e
	}
	if json.Unmarshal(m["error_codes"], &e.numbers) != nil {
		// What is no list of numbers has none; the description may.
		e.numbers = nil
	}
	if found := aadsts.FindStringSubmatch(e.description); found != nil {
		e.description = e.description[len(found[0]):]
		if number, err := strconv.Atoi(found[1]); err == nil && len(e.numbers) == 0 {
			e.numbers = []int{number}
		}
	}
	if i := trace.FindStringIndex(e.description); i != nil {
		e.description = e.description[:i[0]]
	}
	return e
}

// errorName is what error codes look like. What does not is not kept: it could
// be anything, a token too.
var errorName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

func readable(code string) string {
	if code == "" || errorName.MatchString(code) {
		return code
	}
	return "unreadable_error"
}

// maxDescription is the longest description that is kept, in characters.
const maxDescription = 500

// shortened is a server's own words on one line, cut at maxDescription
// characters. What is no printable character is a space.
func shortened(words string) string {
	words = strings.ToValidUTF8(words, " ")
	words = strings.Join(strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
	if runes := []rune(words); len(runes) > maxDescription {
		return string(runes[:maxDescription-1]) + "…"
	}
	return words
}

// claimsOf is the claims challenge of a refusal: JSON, in a string.
func claimsOf(m members) string {
	claims := m.text("claims")
	if len(claims) > maxClaims || !strings.HasPrefix(claims, "{") || !json.Valid([]byte(claims)) {
		return ""
	}
	return claims
}

// retryAfter is the Retry-After header, in seconds or as a date (RFC 9110
// section 10.2.3), [maxRetryAfter] at most.
func retryAfter(header http.Header) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	// The date is by the server's clock, so it is held against that one where
	// the answer tells it.
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
