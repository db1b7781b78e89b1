// Command recipe calls Gmail and Drive through Bellhop with Google's own Go
// client libraries. Only [options] knows of Bellhop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/oauth2"
	"google.golang.org/api/drive/v3"
	"google.golang.org/api/gmail/v1"
	"google.golang.org/api/option"
)

// options are what a service needs to go through Bellhop: its base URL, with
// the path that the library would have after the API's own host, and a slash at
// the end; and the key, in the place of an access token.
func options(base string) []option.ClientOption {
	key := &oauth2.Token{AccessToken: os.Getenv("BELLHOP_KEY")}
	return []option.ClientOption{
		option.WithEndpoint(base),
		option.WithTokenSource(oauth2.StaticTokenSource(key)),
	}
}

func gmailService(ctx context.Context) (*gmail.Service, error) {
	return gmail.NewService(ctx, options(os.Getenv("BELLHOP_GMAIL")+"/")...)
}

func driveService(ctx context.Context) (*drive.Service, error) {
	return drive.NewService(ctx, options(os.Getenv("BELLHOP_DRIVE")+"/drive/v3/")...)
}

func plain(ctx context.Context) error {
	service, err := gmailService(ctx)
	if err != nil {
		return err
	}
	profile, err := service.Users.GetProfile("me").Context(ctx).Do()
	if err != nil {
		return err
	}
	fmt.Println(profile.EmailAddress)
	return nil
}

func pages(ctx context.Context) error {
	service, err := gmailService(ctx)
	if err != nil {
		return err
	}
	count := 0
	err = service.Users.Messages.List("me").Pages(ctx, func(page *gmail.ListMessagesResponse) error {
		count += len(page.Messages)
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Println(count, "messages")
	return nil
}

// upload sends a file of less than a chunk, 16 MiB, in one request, and any other
// in chunks, each of which is sent again if it fails: that is up to the library.
func upload(ctx context.Context, name string) error {
	service, err := driveService(ctx)
	if err != nil {
		return err
	}
	content, err := os.Open(name)
	if err != nil {
		return err
	}
	defer content.Close()
	metadata := &drive.File{Name: filepath.Base(name)}
	created, err := service.Files.Create(metadata).Media(content).Context(ctx).Do()
	if err != nil {
		return err
	}
	fmt.Println(created.Id)
	return nil
}

func download(ctx context.Context, id, name string) error {
	service, err := driveService(ctx)
	if err != nil {
		return err
	}
	response, err := service.Files.Get(id).Context(ctx).Download()
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	return errors.Join(err, file.Close())
}

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	args := append(os.Args[1:], "", "", "")
	var err error
	switch args[0] {
	case "plain":
		err = plain(ctx)
	case "pages":
		err = pages(ctx)
	case "upload", "resumable":
		err = upload(ctx, args[1])
	case "download":
		err = download(ctx, args[1], args[2])
	default:
		log.Fatal("usage: go run . plain | pages | upload <file> | resumable <file> | download <id> <file>")
	}
	if err != nil {
		log.Fatal(err)
	}
}
