// Microsoft Graph through Bellhop with Microsoft's own .NET client library.

using Microsoft.Graph;
using Microsoft.Graph.Models;
using Microsoft.Graph.Models.ODataErrors;
using Microsoft.Kiota.Abstractions.Authentication;

// The base URL has the version that the library would have after Graph's own host.
var bellhop = new Uri(Environment.GetEnvironmentVariable("BELLHOP_GRAPH") + "/v1.0");
var graph = new GraphServiceClient(new BaseBearerTokenAuthenticationProvider(new Key(bellhop.Host)), bellhop.ToString());

try
{
    switch (args.FirstOrDefault())
    {
        case "plain": await Plain(); break;
        case "pages": await Pages(); break;
        case "upload": await Upload(args[1]); break;
        case "resumable": await Resumable(args[1]); break;
        case "batch": await Batch(); break;
        case "download": await Download(args[1], args[2]); break;
        default:
            Console.Error.WriteLine("usage: recipe plain | pages | upload <file> | resumable <file> | batch | download <id> <file>");
            return 2;
    }
    return 0;
}
catch (ODataError e)
{
    Console.Error.WriteLine($"{e.ResponseStatusCode} {e.Error?.Code} {e.Error?.Message}");
    return 1;
}

async Task Plain() => Console.WriteLine((await graph.Me.GetAsync())?.Mail);

async Task Pages()
{
    var count = 0;
    var first = await graph.Me.Messages.GetAsync(request => request.QueryParameters.Top = 100);
    await PageIterator<Message, MessageCollectionResponse>.CreatePageIterator(graph, first!, _ =>
    {
        count++;
        return true;
    }).IterateAsync();
    Console.WriteLine($"{count} messages");
}

async Task<string> DriveId() => (await graph.Me.Drive.GetAsync())!.Id!;

// Upload sends a file of up to 250 MB in one request.
async Task Upload(string name)
{
    await using var content = File.OpenRead(name);
    var item = await graph.Drives[await DriveId()].Root.ItemWithPath(Path.GetFileName(name)).Content.PutAsync(content);
    Console.WriteLine(item!.Id);
}

async Task Resumable(string name)
{
    await using var content = File.OpenRead(name);
    var session = await graph.Drives[await DriveId()].Root.ItemWithPath(Path.GetFileName(name)).CreateUploadSession.PostAsync(new()
    {
        Item = new DriveItemUploadableProperties
        {
            AdditionalData = new Dictionary<string, object> { ["@microsoft.graph.conflictBehavior"] = "replace" },
        },
    });
    var result = await new LargeFileUploadTask<DriveItem>(session, content, 50 * 320 * 1024).UploadAsync();
    Console.WriteLine(result.ItemResponse.Id);
}

// Batches need the origin form: the library takes the first five bytes of the
// path of each of its parts for the version.
async Task Batch()
{
    var batch = new BatchRequestContentCollection(graph);
    await batch.AddBatchRequestStepAsync(graph.Me.ToGetRequestInformation());
    await batch.AddBatchRequestStepAsync(graph.Me.Messages.ToGetRequestInformation(request => request.QueryParameters.Top = 1));
    var answers = await graph.Batch.PostAsync(batch);
    foreach (var (id, status) in await answers.GetResponsesStatusCodesAsync())
    {
        Console.WriteLine($"{id} {(int)status}");
    }
}

async Task Download(string id, string name)
{
    await using var content = await graph.Drives[await DriveId()].Items[id].Content.GetAsync();
    await using var file = File.Create(name);
    await content!.CopyToAsync(file);
}

/// <summary>Gives the key, in the place of an access token, to Bellhop's host and to no other.</summary>
class Key(string host) : IAccessTokenProvider
{
    public AllowedHostsValidator AllowedHostsValidator { get; } = new([host]);

    public Task<string> GetAuthorizationTokenAsync(
        Uri uri,
        Dictionary<string, object>? additionalAuthenticationContext = null,
        CancellationToken cancellationToken = default) =>
        Task.FromResult(AllowedHostsValidator.IsUrlHostValid(uri) ? Environment.GetEnvironmentVariable("BELLHOP_KEY")! : "");
}
