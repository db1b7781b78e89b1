// Drive through Bellhop with Google's own .NET client library.

using Google;
using Google.Apis.Auth.OAuth2;
using Google.Apis.Drive.v3;
using Google.Apis.Drive.v3.Data;
using Google.Apis.Requests;
using Google.Apis.Services;
using DriveFile = Google.Apis.Drive.v3.Data.File;
using File = System.IO.File;

var bellhop = Environment.GetEnvironmentVariable("BELLHOP_DRIVE");

// The base URI has the path that the library would have after the API's own host,
// and a slash at the end. The key goes in the place of an access token.
var drive = new DriveService(new BaseClientService.Initializer
{
    BaseUri = $"{bellhop}/drive/v3/",
    HttpClientInitializer = GoogleCredential.FromAccessToken(Environment.GetEnvironmentVariable("BELLHOP_KEY")),
    ApplicationName = "recipe",
});

try
{
    switch (args.FirstOrDefault())
    {
        case "plain": await Plain(); break;
        case "pages": await Pages(); break;
        case "upload" or "resumable": await Upload(args[1]); break;
        case "batch": await Batch(); break;
        case "download": await Download(args[1], args[2]); break;
        default:
            Console.Error.WriteLine("usage: recipe plain | pages | upload <file> | resumable <file> | batch | download <id> <file>");
            return 2;
    }
    return 0;
}
catch (GoogleApiException e)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

async Task Plain()
{
    var list = drive.Files.List();
    list.PageSize = 1;
    Console.WriteLine((await list.ExecuteAsync()).Files[0].Name);
}

async Task Pages()
{
    var list = drive.Files.List();
    var count = 0;
    do
    {
        var page = await list.ExecuteAsync();
        count += page.Files.Count;
        list.PageToken = page.NextPageToken;
    } while (list.PageToken != null);
    Console.WriteLine($"{count} files");
}

// Every upload is resumable: a file of less than a chunk is one chunk.
async Task Upload(string name)
{
    await using var content = File.OpenRead(name);
    var create = drive.Files.Create(new DriveFile { Name = Path.GetFileName(name) }, content, "application/octet-stream");
    create.ChunkSize = 16 * 1024 * 1024;
    var progress = await create.UploadAsync();
    if (progress.Exception != null)
    {
        throw progress.Exception;
    }
    Console.WriteLine(create.ResponseBody.Id);
}

// Without a URL of its own a batch would go to Google, with the key.
async Task Batch()
{
    var batch = new BatchRequest(drive, $"{bellhop}/batch/drive/v3");
    for (var size = 1; size <= 2; size++)
    {
        var list = drive.Files.List();
        list.PageSize = size;
        batch.Queue<FileList>(list, (_, _, _, message) => Console.WriteLine((int)message.StatusCode));
    }
    await batch.ExecuteAsync();
}

async Task Download(string id, string name)
{
    await using var content = File.Create(name);
    var progress = await drive.Files.Get(id).DownloadAsync(content);
    if (progress.Exception != null)
    {
        throw progress.Exception;
    }
}
