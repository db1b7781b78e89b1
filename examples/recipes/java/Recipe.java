import com.google.api.client.googleapis.batch.BatchRequest;
import com.google.api.client.googleapis.batch.json.JsonBatchCallback;
import com.google.api.client.googleapis.json.GoogleJsonError;
import com.google.api.client.googleapis.json.GoogleJsonResponseException;
import com.google.api.client.googleapis.media.MediaHttpUploader;
import com.google.api.client.http.FileContent;
import com.google.api.client.http.HttpHeaders;
import com.google.api.client.http.HttpRequestInitializer;
import com.google.api.client.http.javanet.NetHttpTransport;
import com.google.api.client.json.gson.GsonFactory;
import com.google.api.services.drive.Drive;
import com.google.api.services.drive.model.File;
import com.google.api.services.drive.model.FileList;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;

/** Drive through Bellhop with Google's own Java client library. */
public class Recipe {
    /**
     * The base URL is the root URL, with a slash at the end; the library puts the service's path
     * behind it. The key goes in the place of an access token.
     */
    private static final HttpRequestInitializer KEY =
            request ->
                    request.getHeaders().setAuthorization("Bearer " + System.getenv("BELLHOP_KEY"));

    private static final Drive DRIVE =
            new Drive.Builder(new NetHttpTransport(), GsonFactory.getDefaultInstance(), KEY)
                    .setRootUrl(System.getenv("BELLHOP_DRIVE") + "/")
                    .setApplicationName("recipe")
                    .build();

    public static void main(String[] args) throws Exception {
        try {
            run(List.of(args));
        } catch (GoogleJsonResponseException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }

    private static void run(List<String> args) throws IOException {
        switch (args.isEmpty() ? "" : args.get(0)) {
            case "plain" -> plain();
            case "pages" -> pages();
            case "upload" -> upload(args.get(1), true);
            case "resumable" -> upload(args.get(1), false);
            case "batch" -> batch();
            case "download" -> download(args.get(1), args.get(2));
            default -> {
                System.err.println(
                        "usage: java Recipe.java plain | pages | upload <file> | resumable <file>"
                                + " | batch | download <id> <file>");
                System.exit(2);
            }
        }
    }

    private static void plain() throws IOException {
        FileList files = DRIVE.files().list().setPageSize(1).execute();
        System.out.println(files.getFiles().get(0).getName());
    }

    private static void pages() throws IOException {
        int count = 0;
        String token = null;
        do {
            FileList page = DRIVE.files().list().setPageToken(token).execute();
            count += page.getFiles().size();
            token = page.getNextPageToken();
        } while (token != null);
        System.out.println(count + " files");
    }

    /** Direct uploads send a file in one request, others in chunks. */
    private static void upload(String name, boolean direct) throws IOException {
        java.io.File file = new java.io.File(name);
        Drive.Files.Create create =
                DRIVE.files()
                        .create(
                                new File().setName(file.getName()),
                                new FileContent("application/octet-stream", file));
        MediaHttpUploader uploader = create.getMediaHttpUploader();
        uploader.setDirectUploadEnabled(direct);
        uploader.setChunkSize(64 * MediaHttpUploader.MINIMUM_CHUNK_SIZE);
        System.out.println(create.execute().getId());
    }

    /** Without its argument, batch() leaves the key out of the request around the parts. */
    private static void batch() throws IOException {
        BatchRequest batch = DRIVE.batch(KEY);
        DRIVE.files().list().setPageSize(1).queue(batch, new Part<>());
        DRIVE.files().list().setPageSize(2).queue(batch, new Part<>());
        batch.execute();
    }

    private static class Part<T> extends JsonBatchCallback<T> {
        @Override
        public void onSuccess(T answer, HttpHeaders headers) {
            System.out.println(200);
        }

        @Override
        public void onFailure(GoogleJsonError error, HttpHeaders headers) {
            System.out.println(error.getCode());
        }
    }

    private static void download(String id, String name) throws IOException {
        try (OutputStream file = new FileOutputStream(name)) {
            DRIVE.files().get(id).executeMediaAndDownloadTo(file);
        }
    }
}
