package main

// Drives and what is in them, whoever's they are. The description has drives in
// full below /drives/{drive-id} alone; Microsoft's reference has the same
// resources at the other places, see graphDrives.
var graphFiles = table{
	name:    "graph-files",
	title:   "Files in Microsoft Graph",
	sources: []string{graphSource},
	methods: graphMethods(`
		/drives/** /shares/** /users/{}/followedSites/**
		/users/{}/drive/** /users/{}/drives/** /groups/{}/drive/** /groups/{}/drives/**
		/sites/{}/drive/** /sites/{}/drives/** /sites/{}/getByPath()/drive/** /sites/{}/getByPath()/drives/**
		/sites/{}/lists/{}/drive/** /sites/{}/lists/{}/items/{}/driveItem/**`),
	effectOf: graphEffect(graphFilesSays),
	effects: []effect{
		{word: "read", does: "reads"},
		{word: "write", does: "creates or changes files"},
		{word: "delete", does: "deletes"},
		{word: "share", does: "changes who may see or change files, or makes a link to them"},
		{word: "notify", does: "is about whom Graph tells of changes"},
		{word: "follow", does: "changes what is followed"},
		{word: "compute", does: "computes in a workbook, or opens a session to change it"},
		{word: "list", does: "is about a list in SharePoint, not about a file"},
		{word: "person", does: "is about a person, not about a file"},
	},
	presets: []preset{{"graph-files-readonly", []string{"read"}}},
	aliases: graphDrives,
	also: graphReads(
		// One thumbnail, such as "large", and its bytes.
		"/drives/{drive-id}/items/{driveItem-id}/thumbnails/{thumbnailSet-id}/{size}",
		"/drives/{drive-id}/items/{driveItem-id}/thumbnails/{thumbnailSet-id}/{size}/content",
	),
}

// graphDrives are the places at which Microsoft's reference has a drive or an
// item besides /drives/{drive-id} and its items: whatever is served at the
// second path is served below the first.
var graphDrives = []alias{
	{"/v1.0/users/{user-id}/drive", "/v1.0/drives/{drive-id}"},
	{"/v1.0/users/{user-id}/drives/{drive-id}", "/v1.0/drives/{drive-id}"},
	{"/v1.0/groups/{group-id}/drive", "/v1.0/drives/{drive-id}"},
	{"/v1.0/groups/{group-id}/drives/{drive-id}", "/v1.0/drives/{drive-id}"},
	{"/v1.0/sites/{site-id}/drive", "/v1.0/drives/{drive-id}"},
	{"/v1.0/sites/{site-id}/drives/{drive-id}", "/v1.0/drives/{drive-id}"},
	{"/v1.0/sites/{site-id}/lists/{list-id}/drive", "/v1.0/drives/{drive-id}"},
	// A site by its path: /sites/contoso.sharepoint.com:/sites/team:/drive.
	{"/v1.0/sites/{site-id}:/{path}:", "/v1.0/sites/{site-id}"},

	{"/v1.0/drives/{drive-id}/root", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},
	{"/v1.0/drives/{drive-id}/special/{driveItem-id}", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},
	// An item by its path below another: /drive/root:/a/b:/content.
	{"/v1.0/drives/{drive-id}/items/{driveItem-id}:/{path}:", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},

	{"/v1.0/shares/{sharedDriveItem-id}/driveItem", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},
	{"/v1.0/shares/{sharedDriveItem-id}/root", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},
	{"/v1.0/shares/{sharedDriveItem-id}/items/{driveItem-id}", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},
	{"/v1.0/sites/{site-id}/lists/{list-id}/items/{listItem-id}/driveItem", "/v1.0/drives/{drive-id}/items/{driveItem-id}"},
}

// graphFilesSays is what the methods do, by the worst that they can.
var graphFilesSays = []graphSays{
	// The person who made or changed something, with the settings of that
	// person's mailbox.
	{"GET,PATCH", "createdByUser/** lastModifiedByUser/**", "person"},
	{"GET,POST,PATCH,DELETE", "/drives/{}/items/{}/subscriptions/**", "notify"},
	// The drive of a list, and the file of one of its items, are files. All else
	// of a list is not, nor is its site.
	{"GET", "list/drive list/items/{}/driveItem list/items/{}/driveItem/content", "read"},
	{"PUT", "list/items/{}/driveItem/content", "write"},
	{"DELETE", "list/items/{}/driveItem/content", "delete"},
	{"GET,POST,PATCH,PUT,DELETE", "/drives/{}/list/** /shares/{}/list/** /shares/{}/site", "list"},

	// The functions of Excel change nothing, but are none that read a file. A
	// session that persists saves what is done in it.
	{"POST", `workbook/functions/** workbook/createSession workbook/refreshSession workbook/closeSession
		application/calculate`, "compute"},
	{"POST", `worksheets worksheets/add charts charts/add names names/add names/addFormulaLocal tables tables/add
		columns columns/add rows rows/add series points pivotTables comments replies operations
		refresh refreshAll protect unprotect apply clear delete insert merge unmerge setData setPosition setSolidColor
		clearFilters reapply reapplyFilters convertToRange
		applyBottomItemsFilter applyBottomPercentFilter applyCellColorFilter applyCustomFilter applyDynamicFilter
		applyFontColorFilter applyIconFilter applyTopItemsFilter applyTopPercentFilter applyValuesFilter`, "write"},
	{"PATCH,DELETE", "/drives/{}/items/{}/workbook/**", "write"},
	{"GET", `workbook application comments comments/{} replies replies/{} functions names names/{}
		operations operations/{} sessionInfoResource() tableRowOperationResult()
		tables tables/{} columns columns/{} rows rows/{} filter sort
		worksheets worksheets/{} worksheet pivotTables pivotTables/{} protection
		charts charts/{} axes categoryAxis seriesAxis valueAxis dataLabels legend majorGridlines minorGridlines
		series series/{} points points/{} title fill font format line
		boundingRect() cell() column() columnsAfter() columnsBefore() count() dataBodyRange() entireColumn() entireRow()
		headerRowRange() image() intersection() item() itemAt() lastCell() lastColumn() lastRow() offsetRange() range()
		resizedRange() row() rowsAbove() rowsBelow() totalRowRange() usedRange() visibleView()`, "read"},

	{"GET", `drives drives/{} drive items items/{} root children children/{} special special/{} bundles bundles/{}
		following following/{} driveItem shares shares/{} content listItem followedSites followedSites/{}
		delta() search() recent() sharedWithMe()
		versions versions/{} thumbnails thumbnails/{} permission permissions permissions/{} retentionLabel
		analytics allTime lastSevenDays itemActivityStats itemActivityStats/{} activities activities/{} getActivitiesByInterval()
		$count`, "read"},

	{"POST", "follow unfollow followedSites/add followedSites/remove", "follow"},
	// A preview's URL shows the file to whoever has it.
	{"POST", "createLink invite preview validatePermission permissions permissions/{}/grant permission/grant shares", "share"},
	{"PATCH,DELETE", "permissions/{} permission shares/{}", "share"},
	{"POST", `drives bundles items children copy createUploadSession checkin checkout discardCheckout restore restoreVersion
		assignSensitivityLabel extractSensitivityLabels versions thumbnails itemActivityStats activities`, "write"},
	{"PATCH", `drives/{} items/{} retentionLabel versions/{} thumbnails/{} analytics itemActivityStats/{} activities/{}`, "write"},
	{"PUT", "content", "write"},
	{"POST", "permanentDelete", "delete"},
	{"DELETE", `drives/{} items/{} content retentionLabel versions/{} thumbnails/{} analytics itemActivityStats/{} activities/{}`, "delete"},
}
